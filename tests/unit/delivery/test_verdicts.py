"""What each outcome means for its row: the table of DESIGN section 3, row by row."""

from __future__ import annotations

import json
from random import Random

import pytest

from mailer.delivery.retry import RetryPolicy
from mailer.delivery.verdicts import Circumstances, Via, failed, given_back, verdict
from mailer.ledger.contract import Row, Settlement
from mailer.message import Accepted, Deferred, Phase, Rejected, Reply, State, Unknown

POLICY = RetryPolicy(ceilings=(60.0,), floor=60.0, budget=3600.0)
NOW = 10_000.0


def row(attempts=0, first=None) -> Row:
    return Row(7, "a@b.example", "b.example", "{}", None, attempts, first, 1)


def decide(outcome, tried=None, *, resend=False) -> Settlement:
    around = Circumstances(3, POLICY, resend_unknown=resend, blocked_seconds=0.0)
    return verdict(tried or row(), outcome, Via("main"), around, now=NOW, rng=Random(1))


def test_accepted():
    reply = Reply("queued as 1", code=250, enhanced="2.0.0", phase=Phase.DOT)
    refused = (("copy@b.example", Reply("no such user", code=550, enhanced="5.1.1")),)

    settled = decide(Accepted(reply, "1", refused))

    copies = json.loads(settled.copies)
    settled.copies = None
    assert settled == Settlement(
        7,
        3,
        State.ACCEPTED,
        code=250,
        enhanced="2.0.0",
        phase="dot",
        reply="queued as 1",
        backend="main",
        reference="1",
    )
    assert copies == [
        {"recipient": "copy@b.example", "code": 550, "enhanced": "5.1.1", "reply": "no such user"}
    ]


@pytest.mark.parametrize("suppress", [True, False])
def test_rejected(suppress):
    reply = Reply("no", code=550, reason="The address does not exist.")

    settled = decide(Rejected(reply, suppress=suppress))

    assert (settled.state, settled.suppress, settled.spent) == (State.REJECTED, suppress, True)
    assert settled.reason == "The address does not exist."


def test_deferred_is_due_again():
    settled = decide(Deferred(Reply("later", code=451)))

    assert (settled.state, settled.due_at, settled.spent) == (State.DEFERRED, NOW + 60, True)


def test_deferred_beyond_the_budget_has_failed_with_the_last_reply():
    settled = decide(
        Deferred(Reply("later", code=451, reason="Busy.")), row(attempts=9, first=NOW - POLICY.budget)
    )

    assert (settled.state, settled.due_at, settled.code, settled.reply) == (State.FAILED, None, 451, "later")
    assert settled.reason == "Not accepted within 1 h of trying: Busy."


def test_unknown_is_held_unless_the_campaign_says_otherwise():
    outcome = Unknown(Reply("lost after the final dot"))

    assert decide(outcome).state == State.UNKNOWN
    assert decide(outcome, resend=True).state == State.DEFERRED


def test_unknown_stays_unknown_when_there_is_no_time_left_to_resend():
    outcome = Unknown(Reply("lost after the final dot"))

    assert decide(outcome, row(9, NOW - POLICY.budget), resend=True).state == State.UNKNOWN


@pytest.mark.parametrize(("attempts", "state"), [(0, State.PENDING), (1, State.DEFERRED)])
def test_given_back_spends_nothing(attempts, state):
    assert given_back(row(attempts), 3, 5.0) == Settlement(7, 3, state, due_at=5.0, spent=False)


def test_failed_names_the_reason():
    settled = failed(row(), 3, "'name' is undefined", Phase.RENDER)

    assert (settled.state, settled.reason, settled.phase) == (State.FAILED, "'name' is undefined", "render")
