"""Lists of single messages, and idempotency keys that end, over every kind of ledger."""

from __future__ import annotations

import json

import pytest

from mailer.errors import IdempotencyConflict
from mailer.ledger import listing
from mailer.ledger.contract import NewCampaign, Runner
from mailer.ledger.listing import Wanted
from mailer.ledger.single_rows import Single
from mailer.message import State
from tests.ledgers import LEDGERS

NEW = NewCampaign(
    "receipt-acme", "receipt", "digest", {"letters": True}, Runner.WORKERS, "transactional", "main"
)
START = 1_800_000_000.0


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


def named(second):
    """The public name of a message of this second, as the outbox makes it."""
    return f"{int((START + second) * 1000):011x}{second:016x}"


def add(book, *seconds, **more):
    campaign = book.ledger.singles.campaign(NEW)
    letters = {second: json.dumps({"template": "receipt", "tags": [f"tag{second}"]}) for second in seconds}
    singles = [
        Single(named(n), campaign.id, f"person{n}@lane.example", "lane", letters[n], **more) for n in seconds
    ]
    return [one.id for one in book.ledger.singles.add(singles)]


def pages(book, wanted, limit=2):
    found, cursor = [], None
    while True:
        page, cursor = book.ledger.listing.page(wanted, limit, cursor)
        found += [one.public for one in page]
        if cursor is None:
            return found


def test_newest_first_page_by_page(book, monkeypatch):
    monkeypatch.setattr(listing, "CHUNKS", 1)
    add(book, 3, 1, 5, 2, 4)

    assert pages(book, Wanted()) == [named(n) for n in (5, 4, 3, 2, 1)]
    assert pages(book, Wanted(since=START + 4)) == [named(5), named(4)]
    assert book.ledger.listing.page(Wanted(), 50)[1] is None


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [
        (Wanted(to="PERSON2@lane.example"), [2]),
        (Wanted(tag="tag3"), [3]),
        (Wanted(tag="tag"), []),
        (Wanted(template="receipt"), [3, 2, 1]),
        (Wanted(template="other"), []),
        (Wanted(state="cancelled"), [1]),
        (Wanted(scope="mk_2"), [3]),
        (Wanted(to="nobody@lane.example\0"), []),
    ],
)
def test_only_what_is_wanted(book, wanted, seconds):
    first, _ = add(book, 1, 2, scope="mk_1")
    add(book, 3, scope="mk_2")
    book.ledger.singles.cancel(first)

    assert pages(book, wanted) == [named(n) for n in seconds]


def test_how_many_wait_and_whose_each_is(book):
    book.campaign(rows=5)  # of a list: these are not counted
    first, _ = add(book, 1, 2, scope="mk_1")

    assert book.ledger.listing.waiting() == 2
    assert book.ledger.singles.cancel(first)
    assert book.ledger.listing.waiting() == 1
    assert book.ledger.listing.owner(named(1)) == "mk_1"
    assert book.ledger.listing.owner(named(9)) is None
    assert State.CANCELLED in [one.state for one in book.ledger.listing.page(Wanted(), 9)[0]]


def test_keys_of_a_face_end_and_others_do_not(book):
    add(book, 1, scope="mk_1", key="a", fingerprint="x")
    add(book, 2, scope="shop/transactional", key="a", fingerprint="x")
    add(book, 3, scope="mkx1", key="a", fingerprint="x")

    assert book.ledger.pruning.forget_keys("mk_", START) == 0
    assert book.ledger.pruning.forget_keys("mk_", START + 60) == 1
    assert book.ledger.pruning.forget_keys("mk_", START + 60) == 0
    assert book.ledger.singles.add([_again(book, 4, "mk_1")])[0].created
    with pytest.raises(IdempotencyConflict):
        book.ledger.singles.add([_again(book, 5, "shop/transactional")])


def _again(book, second, scope):
    campaign = book.ledger.singles.campaign(NEW)
    return Single(
        named(second), campaign.id, "a@lane.example", "lane", "{}", scope=scope, key="a", fingerprint="y"
    )
