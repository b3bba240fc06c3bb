"""Retry is a pure function: every promise of it is checked over many draws."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.retry import BULK, HOUR, LONGEST_BUDGET, TRANSACTIONAL, RetryPolicy, next_due, policy_for
from mailer.message import Deferred, Reply

LATER = Deferred(Reply("try later", code=451))
DAY = 24 * HOUR


def due(outcome=LATER, attempt=1, first=0.0, blocked=0.0, now=0.0, seed=1, policy=BULK) -> float | None:
    return next_due(
        outcome,
        attempt,
        first_tried_at=first,
        blocked_seconds=blocked,
        now=now,
        rng=Random(seed),
        policy=policy,
    )


def test_the_first_retry_of_bulk_mail_comes_after_about_a_minute():
    waits = [due(seed=seed) for seed in range(1000)]

    assert 60 <= sum(waits) / 1000 <= 75
    assert min(waits) >= BULK.floor
    assert max(waits) <= BULK.ceilings[0]


@given(attempt=st.integers(1, 200), seed=st.integers(), policy=st.sampled_from([BULK, TRANSACTIONAL]))
def test_a_wait_is_drawn_between_floor_and_ceiling(attempt, seed, policy):
    ceiling = policy.ceilings[min(attempt, len(policy.ceilings)) - 1]

    assert policy.floor <= due(attempt=attempt, seed=seed, policy=policy) <= ceiling


@given(
    asked=st.floats(0, 2 * DAY),
    attempt=st.integers(1, 20),
    now=st.floats(0, 2 * DAY),
    blocked=st.floats(0, DAY),
    seed=st.integers(),
)
def test_never_before_what_was_asked_never_after_the_budget(asked, attempt, now, blocked, seed):
    when = due(Deferred(LATER.reply, asked), attempt, blocked=blocked, now=now, seed=seed)

    if when is None:
        assert now >= blocked + DAY or now + asked > blocked + DAY
    else:
        assert now + asked <= when <= blocked + DAY


def test_the_last_try_is_at_the_end_of_the_budget():
    assert due(attempt=9, now=DAY - 1) == DAY
    assert due(attempt=10, now=DAY) is None


def test_time_paused_or_blocked_does_not_count():
    assert due(now=DAY, blocked=HOUR) is not None
    assert due(now=DAY + HOUR, blocked=HOUR) is None


def test_rows_that_hear_the_same_retry_after_do_not_come_back_together():
    waits = {due(Deferred(LATER.reply, 1000.0), seed=seed) for seed in range(50)}

    assert len(waits) == 50
    assert all(1000 <= wait <= 1200 for wait in waits)


def test_a_campaign_may_change_its_schedule_within_bounds():
    wishes = {"budget_seconds": 90 * HOUR, "floor_seconds": 0.1, "ceilings": [1, 2]}

    assert policy_for("bulk", wishes) == RetryPolicy((1.0, 2.0), 0.1, LONGEST_BUDGET)


@pytest.mark.parametrize(
    ("stream", "policy"), [("bulk", BULK), ("transactional", TRANSACTIONAL), ("newsletters", BULK)]
)
def test_each_stream_has_its_schedule(stream, policy):
    assert policy_for(stream) == policy
