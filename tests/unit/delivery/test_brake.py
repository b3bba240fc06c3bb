"""A campaign that goes wrong stops by itself, and says why."""

from __future__ import annotations

import pytest

from mailer.delivery.brake import Brake, BrakeLimits
from mailer.ledger.contract import Settlement
from mailer.message import State
from tests.ledgers import Book, sqlite


@pytest.fixture
def book(tmp_path):
    with sqlite(tmp_path) as book:
        yield book


class Trial:
    """One running campaign under one brake."""

    def __init__(self, book: Book, rows: int = 3000, **limits: float) -> None:
        self.book = book
        self.campaign = book.campaign(rows)
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


def test_many_campaigns_are_looked_at_in_turn(book):
    trials = [Trial(book, rows=100, errors=0.05) for _ in range(25)]
    brake = Brake(BrakeLimits(errors=0.05))
    running = [trial.campaign for trial in trials]
    brake.look(book.ledger, running)
    trials[24].settle(100, State.REJECTED)

    stopped = [brake.look(book.ledger, running) for _ in range(3)]

    assert [id_ for some in stopped for id_ in some] == [trials[24].campaign.id]
