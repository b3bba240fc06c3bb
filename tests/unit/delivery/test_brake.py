"""A campaign that goes wrong stops by itself, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from mailer.delivery.brake import ALARM_SECONDS, Brake, BrakeLimits
from mailer.ledger.contract import Settlement
from mailer.message import State
from tests.ledgers import Book, sqlite


@pytest.fixture
def book(tmp_path):
    with sqlite(tmp_path) as book:
        yield book


class Trial:
    """One running campaign under one brake."""

    def __init__(
        self, book: Book, rows: int = 3000, *, stream: str = "bulk", spec: Any = None, **limits: float
    ) -> None:
        self.book = book
        self.campaign = book.campaign(rows, stream=stream, spec=spec or {})
        self.brake = Brake(BrakeLimits(**limits))
        self._next = 1
        self.look()

    def settle(self, rows: int, state: State, **more: str) -> None:
        ordinals = range(self._next, self._next + rows)
        self._next += rows
        claimed = self.book.claim(self.campaign, *ordinals)
        self.book.clock.sleep(1)
        self.book.ledger.slices.settle(
            [Settlement(row.id, claimed.fence, state, **more) for row in claimed.rows]
        )

    def look(self) -> bool:
        """Whether it is stopped now."""
        running = [one for one in self.book.ledger.campaigns.list() if one.state == "running"]
        return self.campaign.id in self.brake.look(self.book.ledger, running)


def test_judges_nothing_by_fewer_than_asked_for(book):
    trial = Trial(book, errors=0.05, least=100)
    trial.settle(60, State.REJECTED)
    trial.settle(39, State.FAILED)
    assert not trial.look()

    trial.settle(1, State.ACCEPTED)

    assert trial.look()
    reason = book.now(trial.campaign).reason
    assert reason.startswith("99 of the last 100 were refused or failed, more than 5.0%")
    assert book.ledger.events.untold(trial.campaign.runner)[0][1] == "paused"


def test_a_share_that_is_allowed_stops_nothing(book):
    trial = Trial(book, errors=0.05)
    for _ in range(10):
        trial.settle(95, State.ACCEPTED)
        trial.settle(5, State.REJECTED)
        assert not trial.look()


def test_only_the_last_ones_count(book):
    trial = Trial(book, rows=3000, errors=0.05)
    for _ in range(20):
        trial.settle(100, State.ACCEPTED)
        assert not trial.look()

    trial.settle(61, State.REJECTED)

    assert trial.look()  # 61 of 2061 would be three in a hundred


def test_what_was_before_a_person_resumed_it_does_not_count(book):
    trial = Trial(book, errors=0.05)
    trial.settle(100, State.REJECTED)
    assert trial.look()
    trial.look()

    book.ledger.campaigns.resume(trial.campaign.id)

    assert not trial.look()
    trial.settle(100, State.ACCEPTED)
    assert not trial.look()


def test_policy_refusals_have_a_limit_of_their_own(book):
    trial = Trial(book, policy=0.03)
    trial.settle(90, State.REJECTED, enhanced="5.1.1")
    trial.settle(310, State.ACCEPTED)
    assert not trial.look()

    trial.settle(13, State.REJECTED, enhanced="5.7.1")

    assert trial.look()
    assert book.now(trial.campaign).reason.startswith("13 of the last 413 were refused for what they are")


class Letters(Trial):
    """Single messages of an application; the campaign they are rows of never ends."""

    def __init__(self, book: Book, stream: str, **limits: float) -> None:
        super().__init__(book, 3000, stream=stream, spec={"letters": True}, **limits)


def test_transactional_messages_of_applications_are_told_of_and_never_stopped(book):
    trial = Letters(book, "transactional", errors=0.05, least=1)

    for _ in range(3):  # one typed wrong, then another
        trial.settle(1, State.REJECTED)
        assert not trial.look()

    ((campaign, reason),) = trial.brake.alarms()
    assert campaign.id == trial.campaign.id
    assert reason.startswith("1 of the last 1 were refused or failed")
    assert trial.brake.alarms() == []
    assert book.now(trial.campaign).state == "running"
    book.clock.sleep(ALARM_SECONDS)
    trial.settle(3, State.REJECTED)
    assert not trial.look()
    trial.settle(3, State.REJECTED)
    assert not trial.look()
    assert len(trial.brake.alarms()) == 1


def test_bulk_messages_of_applications_are_stopped(book):
    trial = Letters(book, "bulk", errors=0.05)
    trial.settle(100, State.REJECTED)

    assert trial.look()


def test_a_campaign_is_not_judged_by_one_message(book):
    trial = Trial(book, rows=1, stream="transactional", errors=0.05, policy=0.01)
    trial.settle(1, State.REJECTED, enhanced="5.7.1")

    assert not trial.look()


def test_many_campaigns_are_looked_at_in_turn(book):
    trials = [Trial(book, rows=100, errors=0.05) for _ in range(25)]
    brake = Brake(BrakeLimits(errors=0.05))
    running = [trial.campaign for trial in trials]
    brake.look(book.ledger, running)
    trials[24].settle(100, State.REJECTED)

    stopped = [brake.look(book.ledger, running) for _ in range(3)]

    assert [id_ for some in stopped for id_ in some] == [trials[24].campaign.id]
