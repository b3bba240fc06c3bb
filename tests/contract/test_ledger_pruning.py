"""Recipients of campaigns that are over are removed; counts stay."""

from __future__ import annotations

from hashlib import sha256

import pytest

from mailer.errors import StateConflict
from mailer.ledger import pruning
from mailer.ledger.contract import NewCampaign, Settlement
from mailer.ledger.single_rows import Single
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


def test_between_two_steps_others_have_their_turn(book, monkeypatch):
    monkeypatch.setattr(pruning, "PAGE", 2)
    campaign, running = over(book), book.campaign(3)
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        assert book.claim(running, len(rests)).rows

    monkeypatch.setattr(pruning, "sleep", rest)
    book.ledger.pruning.prune(campaign.id)

    assert len(rests) == 3
    assert all(seconds > 0 for seconds in rests)


def test_interrupted_it_is_gone_on_with(book, monkeypatch):
    monkeypatch.setattr(pruning, "PAGE", 2)
    campaign = over(book)

    def stop(gone: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.ledger.pruning.prune(campaign.id, stop)
    assert [one.id for one in book.ledger.pruning.over_before(book.clock.now + 1)] == [campaign.id]

    assert book.ledger.pruning.prune(campaign.id) == 3


def test_what_was_pruned_long_ago_can_still_be_forgotten(book):
    campaign = over(book)
    book.ledger.pruning.prune(campaign.id)
    later = book.clock.now + 1
    assert book.ledger.pruning.over_before(later) == []

    (left,) = book.ledger.pruning.over_before(later, empty=True)
    book.ledger.pruning.forget(left.id)

    assert book.ledger.pruning.over_before(later, empty=True) == []


def test_forgotten_it_was_never_there(book):
    campaign = over(book)

    book.ledger.pruning.forget(campaign.id)

    assert book.ledger.campaigns.list() == []
    assert book.campaign(1).id > campaign.id


def test_what_it_was_made_of_goes_with_the_last_that_was(book):
    def of(*contents):
        stored = {sha256(one).hexdigest(): one for one in contents}
        return {"package": {"files": {name: name for name in stored}, "shared": {}}}, stored

    def made(name, *contents):
        spec, stored = of(*contents)
        book.ledger.campaigns.create(NewCampaign(name, name, name, spec), stored)
        campaign = book.ledger.campaigns.get(name)
        return book.ledger.campaigns.opened(campaign.id, 0)

    def left():
        names = [sha256(one).hexdigest() for one in (b"layout", b"typo", b"letter", b"bill")]
        return [name in book.ledger.blobs.several(names) for name in names]

    letter, bill = made("letter", b"layout", b"typo"), made("bill", b"layout", b"bill")
    book.ledger.campaigns.pause(letter.id, "a typo")
    spec, stored = of(b"layout", b"letter")
    book.ledger.campaigns.correct(letter.id, spec, stored)
    for campaign in (letter, bill):
        book.ledger.campaigns.cancel(campaign.id)
    assert left() == [True, True, True, True]

    book.ledger.pruning.forget(letter.id)
    assert left() == [True, False, False, True]
    book.ledger.pruning.forget(bill.id)
    assert left() == [False, False, False, False]


def test_of_single_messages_the_old_ones_go_and_those_that_wait_stay(book):
    singles = book.ledger.singles
    open_ = singles.campaign(NewCampaign("shop", "Shop", "shop", {}, stream="transactional"))

    def put(name):
        (added,) = singles.add([Single(name, open_.id, "ada@b.example", "b.example", "{}", key=name)])
        return added.id

    ids = [put(name) for name in ("old", "unanswered", "waits")]
    claimed = book.ledger.slices.claim(ids[:2], "ada", 60)
    marks = [(id_, claimed.fence) for id_ in ids[:2]]
    assert book.ledger.slices.mark(marks) == [True, True]
    states = (State.ACCEPTED, State.UNKNOWN)
    book.ledger.slices.settle([Settlement(*one, state) for one, state in zip(marks, states, strict=True)])
    book.clock.sleep(100)
    young = put("young")
    claimed = book.ledger.slices.claim([young], "ada", 60)
    book.ledger.slices.settle([Settlement(young, claimed.fence, State.ACCEPTED)])
    moment = book.clock.now - 50

    assert [(one.id, rows) for one, rows in book.ledger.pruning.settled_before(moment)] == [(open_.id, 2)]
    assert book.ledger.pruning.prune_settled(open_.id, moment) == 2

    assert [row.id for row in book.ledger.results.rows(open_.id)] == [ids[2], young]
    assert [singles.find(name) for name in ("old", "waits")] == [None, ids[2]]
    assert book.ledger.pruning.settled_before(moment) == []
    assert book.ledger.campaigns.retry(open_.id, [State.UNKNOWN]).rows == 0
    counts = book.ledger.campaigns.counts(open_.id).states
    assert (counts[State.ACCEPTED], counts[State.UNKNOWN], counts[State.PENDING]) == (2, 1, 1)


def test_idempotency_keys_go_with_their_campaign(book):
    singles = book.ledger.singles
    open_ = singles.campaign(NewCampaign("shop", "Shop", "shop", {}))
    singles.add([Single("one", open_.id, "ada@b.example", "b.example", "{}", key="ada@b.example")])
    book.ledger.campaigns.cancel(open_.id)

    book.ledger.pruning.prune(open_.id)

    assert singles.find("one") is None
