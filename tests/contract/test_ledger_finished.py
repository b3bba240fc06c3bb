"""Finished messages and their recipients, over every kind of ledger."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from mailer.address import Address
from mailer.errors import IdempotencyConflict
from mailer.ledger.contract import Runner, Settlement
from mailer.ledger.schema import blob
from mailer.message import State
from mailer.outbox.intake import Finished, Intake
from tests.ledgers import LEDGERS


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


@pytest.fixture
def intake(book):
    return Intake(
        book.ledger,
        runner=Runner.WORKERS,
        backends={"transactional": "main", "bulk": "main"},
        announce=lambda ids, stream: None,
    )


def message(*names, data=b"From: a@acme.example\r\n\r\nHi\r\n", **more):
    people = tuple(Address.parse(f"{name}@example.org") for name in names)
    return Finished(data, "a@acme.example", people, "acme.example", "<1@acme.example>", **more)


def blobs(book):
    with book.ledger.database.read() as connection:
        return connection.execute(select(func.count()).select_from(blob)).scalar_one()


def test_recipients_share_the_bytes_and_nothing_else(book, intake):
    intake.put([message("ada", "bob"), message("eve", data=b"other")])

    (campaign,) = book.ledger.campaigns.list()
    rows = list(book.ledger.results.rows(campaign.id))
    assert [row.address for row in rows] == ["ada@example.org", "bob@example.org", "eve@example.org"]
    assert blobs(book) == 2


def test_what_one_did_wrong_is_his_alone(book, intake):
    first, again = (message("ada", key="order-7", fingerprint=one) for one in ("a", "b"))
    intake.put([first])

    conflict, fine, same = intake.put([again, message("bob"), first])

    assert isinstance(conflict, IdempotencyConflict)
    assert [receipt.created for receipt in fine] == [True]
    assert [receipt.created for receipt in same] == [False]
    assert blobs(book) == 2


def test_messages_of_a_cancelled_campaign_go_into_a_new_one(book, intake):
    intake.put([message("ada")])
    (old,) = book.ledger.campaigns.list()
    book.ledger.campaigns.cancel(old.id)

    answers = intake.put([message("bob"), message("eve")])

    assert all(isinstance(answer, list) for answer in answers)
    assert [one.id == old.id for one in book.ledger.campaigns.list()] == [True, False]


def test_the_bytes_go_with_the_last_recipient(book, intake):
    intake.put([message("ada", "bob"), message("eve")])
    (campaign,) = book.ledger.campaigns.list()
    first, second, third = book.ids(campaign, 1, 2, 3)

    _settle(book, [first, third])
    pruned = book.ledger.pruning.prune_settled(campaign.id, book.clock.now + 1)
    assert (pruned, blobs(book)) == (2, 1)
    _settle(book, [second])
    pruned = book.ledger.pruning.prune_settled(campaign.id, book.clock.now + 1)
    assert (pruned, blobs(book)) == (1, 0)


def _settle(book, ids):
    claimed = book.ledger.slices.claim(ids, "anna", 60.0)
    for id_ in ids:
        book.ledger.slices.mark([(id_, claimed.fence)])
    book.ledger.slices.settle([Settlement(id_, claimed.fence, State.ACCEPTED) for id_ in ids])
