"""Recipients of campaigns that are over are removed; counts stay."""

from __future__ import annotations

import pytest

from mailer.errors import StateConflict
from mailer.ledger import pruning
from mailer.message import State
from tests.ledgers import LEDGERS


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


def over(book, rows=5):
    """A finished campaign in which everybody was tried twice."""
    campaign = book.campaign(rows)
    for state in (State.DEFERRED, State.ACCEPTED):
        claimed = book.claim(campaign, *range(1, rows + 1))
        for ordinal in range(1, rows + 1):
            book.settle(claimed, ordinal, state, reply="said of person-1@lane-0.example")
    assert book.ledger.schedule.finish(campaign.id)
    return campaign


def test_only_who_is_over_for_so_long(book):
    old = over(book)
    book.clock.sleep(100)
    young, running = over(book), book.campaign(1)
    paused = book.campaign(1)
    book.ledger.campaigns.pause(paused.id, "by hand")

    assert [one.id for one in book.ledger.pruning.over_before(book.clock.now)] == [old.id]
    assert [one.id for one in book.ledger.pruning.over_before(book.clock.now + 1)] == [old.id, young.id]
    with pytest.raises(StateConflict, match="it is running"):
        book.ledger.pruning.prune(running.id)


def test_the_people_go_and_the_numbers_stay(book, monkeypatch):
    monkeypatch.setattr(pruning, "PAGE", 2)
    kept, gone = over(book), over(book)
    pages: list[int] = []

    assert book.ledger.pruning.prune(gone.id, pages.append) == 5

    assert pages == [2, 4, 5]
    assert book.rows(gone) == []
    assert [one.id for one, *_ in book.ledger.results.find("person-1@lane-0.example")] == [kept.id]
    assert book.ledger.campaigns.counts(gone.id).states[State.ACCEPTED] == 5
    assert (book.now(gone).total, book.now(gone).pruned_at) == (5, book.clock.now)
    assert book.ledger.pruning.over_before(book.clock.now + 1) == [book.now(kept)]
    with pytest.raises(StateConflict, match="were removed by `mailer prune`"):
        book.ledger.campaigns.retry(gone.id, [State.FAILED])
    assert len(book.rows(kept)) == 5


def test_interrupted_it_is_gone_on_with(book, monkeypatch):
    monkeypatch.setattr(pruning, "PAGE", 2)
    campaign = over(book)

    def stop(gone: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.ledger.pruning.prune(campaign.id, stop)
    assert [one.id for one in book.ledger.pruning.over_before(book.clock.now + 1)] == [campaign.id]

    assert book.ledger.pruning.prune(campaign.id) == 3


def test_forgotten_it_was_never_there(book):
    campaign = over(book)

    book.ledger.pruning.forget(campaign.id)

    assert book.ledger.campaigns.list() == []
    assert book.campaign(1).id > campaign.id
