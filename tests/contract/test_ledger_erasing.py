"""What a secret message said goes when it has ended, whoever ends it; what may be sent again stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailer.errors import StateConflict
from mailer.ledger.contract import NewCampaign, Runner, Settlement
from mailer.ledger.single_rows import Single
from mailer.message import Phase, State
from tests.ledgers import LEASE, LEDGERS

SECRET = NewCampaign(
    "reset", "reset", "digest", {"letters": True, "sensitive": True}, Runner.WORKERS, "transactional", "main"
)
CELLS = '{"id": "one", "data": {"code": 7}, "tags": ["t"]}'
LEFT = '{"id": "one", "tags": ["t"]}'


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


def added(book, new=SECRET):
    """One message, with a key."""
    campaign = book.ledger.singles.campaign(new)
    one = Single("one", campaign.id, "one@lane.example", "lane", CELLS, 0.0, "shop", "key", "content")
    return campaign, book.ledger.singles.add([one])[0].id


def claimed(book, row, *, marked=False):
    held = book.ledger.slices.claim([row], "anna", LEASE)
    if marked:
        book.ledger.slices.mark([(row, held.fence)])
    return held


def cells(book, campaign):
    (row,) = book.rows(campaign)
    return row.state, row.cells


def cancelled_by_the_application(book, campaign, row):
    assert book.ledger.singles.cancel(row)


def cancelled_with_its_campaign(book, campaign, row):
    book.ledger.campaigns.cancel(campaign.id)


def cancelled_while_it_was_claimed(book, campaign, row):
    held = claimed(book, row)
    book.ledger.campaigns.cancel(campaign.id)
    back = Settlement(row, held.fence, State.PENDING, spent=False, cells=LEFT)
    assert book.ledger.slices.settle([back]) == [True]


def cancelled_while_its_worker_died(book, campaign, row):
    claimed(book, row)
    book.ledger.campaigns.cancel(campaign.id)
    book.clock.sleep(LEASE + 1)
    book.ledger.slices.recover()


def suppressed(book, campaign, row):
    book.ledger.suppressions.add("one@lane.example")
    assert claimed(book, row).suppressed == 1


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (cancelled_by_the_application, State.CANCELLED),
        (cancelled_with_its_campaign, State.CANCELLED),
        (cancelled_while_it_was_claimed, State.CANCELLED),
        (cancelled_while_its_worker_died, State.CANCELLED),
        (suppressed, State.SUPPRESSED),
    ],
)
def test_what_ends_without_a_try_is_erased_with_the_digest_of_its_content(book, end, state):
    campaign, row = added(book)

    end(book, campaign, row)

    assert cells(book, campaign) == (state, LEFT)
    other = replace(SECRET, slug="other", digest="other")
    again = Single(
        "two", book.ledger.singles.campaign(other).id, "a@b.example", "l", "{}", 0.0, "shop", "key", "x"
    )
    assert book.ledger.singles.add([again])[0][::2] == ("one", False), "any content counts as the same"


def test_what_waits_or_is_in_doubt_keeps_what_sending_it_needs(book):
    campaign, row = added(book)
    held = claimed(book, row, marked=True)
    deferred = Settlement(row, held.fence, State.DEFERRED, due_at=1.0, phase=Phase.RCPT, cells=LEFT)
    book.ledger.slices.settle([deferred])
    assert cells(book, campaign) == (State.DEFERRED, CELLS)

    claimed(book, row, marked=True)
    book.clock.sleep(LEASE + 1)
    book.ledger.slices.recover()
    assert cells(book, campaign) == (State.UNKNOWN, CELLS)

    with pytest.raises(StateConflict, match="erased"):
        book.ledger.campaigns.retry(campaign.id, [State.FAILED, State.UNKNOWN])
    assert book.ledger.campaigns.retry(campaign.id, [State.UNKNOWN]).rows == 1
    assert cells(book, campaign) == (State.PENDING, CELLS)


def test_what_is_no_secret_is_kept(book):
    campaign, _ = added(book, replace(SECRET, spec={"letters": True}))

    book.ledger.campaigns.cancel(campaign.id)

    assert cells(book, campaign) == (State.CANCELLED, CELLS)
