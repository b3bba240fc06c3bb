"""Messages that come one by one, over every kind of ledger."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from mailer.errors import IdempotencyConflict, LedgerError
from mailer.ledger.contract import CampaignState, NewCampaign, Runner, Settlement
from mailer.ledger.single_rows import CampaignClosed, Single
from mailer.message import State
from tests.ledgers import LEDGERS

NEW = NewCampaign(
    "receipt-acme", "receipt", "digest", {"letters": True}, Runner.WORKERS, "transactional", "main"
)


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


@pytest.fixture
def campaign(book):
    return book.ledger.singles.campaign(NEW)


def single(campaign, name="one", **more):
    address = f"{name}@lane.example"
    return Single(name, campaign.id, address, "lane", '{"data": 1}', **more)


def test_its_campaign_runs_from_the_start_and_is_made_once(book, campaign):
    again = book.ledger.singles.campaign(replace(NEW, runner=Runner.APPLICATION))

    assert campaign.state is CampaignState.RUNNING
    assert again.id == campaign.id
    assert book.now(campaign).runner is Runner.APPLICATION


def test_a_message_is_a_row_like_any_other(book, campaign):
    (added,) = book.ledger.singles.add([single(campaign)])

    assert added.created
    assert book.ledger.singles.find("one") == added.id
    assert book.ledger.schedule.due(campaign.id, None, 10) == [added.id]
    claimed = book.ledger.slices.claim([added.id], "anna", 60.0)
    assert [(row.address, row.cells) for row in claimed.rows] == [("one@lane.example", '{"data": 1}')]
    assert book.states(campaign) == [State.CLAIMED]


def test_numbers_go_on_where_they_ended(book, campaign):
    first = book.ledger.singles.add([single(campaign, "a"), single(campaign, "b")])
    second = book.ledger.singles.add([single(campaign, "c")])

    assert [one.id for one in (*first, *second)] == book.ids(campaign, 1, 2, 3)
    assert book.states(campaign) == [State.PENDING] * 3


def test_one_that_is_sent_later_is_not_due_before(book, campaign):
    (added,) = book.ledger.singles.add([single(campaign, due_at=book.clock.now + 60)])
    assert book.ledger.schedule.due(campaign.id, None, 10) == []

    book.clock.sleep(61)

    assert book.ledger.schedule.due(campaign.id, None, 10) == [added.id]


def test_the_same_key_is_the_same_message(book, campaign):
    first = single(campaign, "first", scope="shop", key="order-1", fingerprint="f")
    book.ledger.singles.add([first])

    (again,) = book.ledger.singles.add([first._replace(public="second")])
    (other,) = book.ledger.singles.add([first._replace(public="third", scope="elsewhere")])

    assert (again.public, again.created) == ("first", False)
    assert (other.public, other.created) == ("third", True)
    assert book.states(campaign) == [State.PENDING] * 2


def test_a_key_with_other_content_stores_nothing_of_the_whole_lot(book, campaign):
    first = single(campaign, "first", scope="shop", key="order-1", fingerprint="f")
    book.ledger.singles.add([first])

    with pytest.raises(IdempotencyConflict, match="order-1"):
        book.ledger.singles.add([single(campaign, "new"), first._replace(public="x", fingerprint="other")])

    assert book.ledger.singles.find("new") is None
    assert book.states(campaign) == [State.PENDING]


def test_many_threads_with_one_key_make_one_message(book, campaign):
    names: list[str] = []
    start = threading.Barrier(8)

    def add(number: int) -> None:
        one = single(campaign, f"t{number}", scope="shop", key="order-1", fingerprint="f")
        start.wait()
        names.append(book.ledger.singles.add([one])[0].public)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(names) == 8
    assert len(set(names)) == 1
    assert book.states(campaign) == [State.PENDING]


def test_a_conflict_of_one_thread_is_not_the_others(book, campaign):
    """They share a commit, and each hears of its own message only."""
    book.ledger.singles.add([single(campaign, "first", scope="s", key="taken", fingerprint="f")])
    heard: dict[int, object] = {}
    start = threading.Barrier(6)

    def add(number: int) -> None:
        wrong = number % 2
        more = {"scope": "s", "key": "taken", "fingerprint": "other"} if wrong else {}
        start.wait()
        try:
            heard[number] = book.ledger.singles.add([single(campaign, f"t{number}", **more)])[0].created
        except IdempotencyConflict as error:
            heard[number] = type(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert heard == {number: IdempotencyConflict if number % 2 else True for number in range(6)}


def test_one_that_waits_can_be_cancelled_and_one_on_its_way_cannot(book, campaign):
    waiting, claimed = book.ledger.singles.add([single(campaign, "a"), single(campaign, "b")])
    book.ledger.slices.claim([claimed.id], "anna", 60.0)

    assert book.ledger.singles.cancel(waiting.id)
    assert not book.ledger.singles.cancel(waiting.id)
    assert not book.ledger.singles.cancel(claimed.id)
    assert book.states(campaign) == [State.CANCELLED, State.CLAIMED]


def test_a_campaign_that_a_person_cancelled_takes_no_more_and_another_takes_its_place(book, campaign):
    book.ledger.campaigns.cancel(campaign.id)

    with pytest.raises(CampaignClosed):
        book.ledger.singles.add([single(campaign)])
    other = book.ledger.singles.campaign(NEW)

    assert (other.id != campaign.id, other.slug) == (True, "receipt-acme-2")
    assert book.ledger.singles.add([single(other)])[0].created


def test_what_is_secret_is_replaced_when_it_is_settled(book, campaign):
    (added,) = book.ledger.singles.add([single(campaign)])
    claimed = book.ledger.slices.claim([added.id], "anna", 60.0)
    book.ledger.slices.mark([(added.id, claimed.fence)])

    book.ledger.slices.settle([Settlement(added.id, claimed.fence, State.ACCEPTED, cells='{"id": "one"}')])

    assert [row.cells for row in book.rows(campaign)] == ['{"id": "one"}']
    assert book.states(campaign) == [State.ACCEPTED]


@pytest.mark.parametrize("count", [3, 300])
def test_a_lot_in_which_something_is_taken_leaves_nothing(book, campaign, count):
    """Also where many rows go in by other means than a few."""
    singles = book.ledger.singles
    singles.add([single(campaign, "n0")])
    lot = [single(campaign, f"n{number}") for number in range(count)]

    with pytest.raises(LedgerError, match="try again"):
        singles.add(lot)

    assert singles.find("n1") is None
    assert [one.created for one in singles.add(lot[1:])] == [True] * (count - 1)
    assert book.ledger.campaigns.counts(campaign.id).states[State.PENDING] == count
