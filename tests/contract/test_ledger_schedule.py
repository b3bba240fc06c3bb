"""What the pump is told, and what is kept for others: leadership, limits, contents, results."""

from __future__ import annotations

from hashlib import sha256

import pytest

from mailer.errors import LedgerError
from mailer.ledger import results, rows
from mailer.ledger.contract import NewCampaign, Runner
from mailer.message import State
from tests.ledgers import LEDGERS

PENDING, DEFERRED, ACCEPTED = State.PENDING, State.DEFERRED, State.ACCEPTED


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


class TestDue:
    def test_rows_come_in_the_order_of_the_input_and_looking_changes_nothing(self, book):
        campaign = book.campaign(6, lanes=3)
        due = book.ledger.schedule.due

        assert due(campaign.id, None, 4) == due(campaign.id, None, 4) == book.ids(campaign, 1, 2, 3, 4)
        assert sorted(due(campaign.id, None, 99)) == book.ids(campaign, 1, 2, 3, 4, 5, 6)
        assert due(campaign.id, "lane-1", 99) == book.ids(campaign, 1, 4)
        assert due(campaign.id, "lane-1", 1) == book.ids(campaign, 1)

    def test_what_is_claimed_is_passed_over(self, book):
        campaign = book.campaign(4)
        book.claim(campaign, 1, 3)

        assert book.ledger.schedule.due(campaign.id, None, 2) == book.ids(campaign, 2, 4)
        waiting = book.ledger.schedule.waiting_for(book.ids(campaign, 1, 2, 3))
        assert list(waiting) == book.ids(campaign, 2)

    def test_what_has_waited_comes_first_and_not_before_its_time(self, book):
        campaign = book.campaign(4, lanes=2)
        claimed = book.claim(campaign, 3, 4)
        book.settle(claimed, 3, DEFERRED, due_at=book.clock.now + 20)
        book.settle(claimed, 4, PENDING, due_at=book.clock.now + 10, spent=False)
        due, next_due = book.ledger.schedule.due, book.ledger.schedule.next_due

        assert due(campaign.id, None, 2) == book.ids(campaign, 1, 2)
        assert next_due(campaign.id) == book.clock.now + 10
        book.clock.sleep(10)
        assert due(campaign.id, None, 2) == book.ids(campaign, 4, 1)
        assert due(campaign.id, "lane-0", 9) == book.ids(campaign, 4, 2)
        assert due(campaign.id, "lane-1", 9) == book.ids(campaign, 1)
        book.clock.sleep(10)
        assert due(campaign.id, None, 2) == book.ids(campaign, 4, 3)
        assert next_due(campaign.id) is None

    def test_what_became_fresh_again_behind_the_front_is_found(self, book):
        campaign = book.campaign(3)
        claimed = book.claim(campaign, 1, 2)
        book.settle(claimed, 1, State.FAILED)
        book.settle(claimed, 2, ACCEPTED)
        assert book.ledger.schedule.due(campaign.id, None, 1) == book.ids(campaign, 3)

        book.ledger.campaigns.retry(campaign.id, [State.FAILED])

        assert set(book.ledger.schedule.due(campaign.id, None, 9)) == set(book.ids(campaign, 1, 3))

    def test_lanes_are_those_with_due_rows(self, book):
        campaign = book.campaign(4, lanes=4)
        other = book.campaign(1)
        claimed = book.claim(campaign, 1, 2)
        book.settle(claimed, 1, DEFERRED, due_at=book.clock.now + 5)

        assert book.ledger.schedule.lanes(campaign.id) == ["lane-0", "lane-3"]
        book.clock.sleep(5)
        assert book.ledger.schedule.lanes(campaign.id) == ["lane-0", "lane-1", "lane-3"]
        assert book.ledger.schedule.lanes(other.id) == ["lane-0"]

    def test_campaigns_come_by_priority_then_age(self, book):
        low, high, also_low = book.campaign(1), book.campaign(1, priority=5), book.campaign(1)

        assert [one.id for one in book.ledger.schedule.runnable(Runner.EMBEDDED)] == [
            high.id,
            low.id,
            also_low.id,
        ]


class TestLeading:
    def test_one_leads_until_it_resigns_or_falls_silent(self, book):
        lead = book.ledger.schedule.lead

        assert lead("pump", "anna", 5)
        assert not lead("pump", "bert", 5)
        assert lead("another", "bert", 5)
        book.clock.sleep(4)
        assert lead("pump", "anna", 5)
        book.clock.sleep(4)
        assert not lead("pump", "bert", 5)
        book.ledger.schedule.resign("pump", "bert")
        assert not lead("pump", "bert", 5)
        book.ledger.schedule.resign("pump", "anna")
        assert lead("pump", "bert", 5)
        book.clock.sleep(5)
        assert lead("pump", "anna", 5)

    def test_the_epoch_only_grows(self, book):
        born = book.ledger.schedule.epoch()

        assert [book.ledger.schedule.raise_epoch() - born for _ in range(3)] == [1, 2, 3]
        assert book.ledger.schedule.epoch() == born + 3


class TestResults:
    def test_pages_bring_every_row_in_order(self, book, monkeypatch):
        monkeypatch.setattr(results, "PAGE", 4)
        monkeypatch.setattr(rows, "PAGE", 3)
        book.campaign(2)
        campaign = book.campaign(10)
        book.campaign(2)

        found = book.rows(campaign)

        assert [row.id for row in found] == book.ids(campaign, *range(1, 11))
        assert (found[4].line, found[4].address, found[4].cells) == (6, "person-5@lane-0.example", '{"n": 5}')

    def test_an_address_is_found_in_every_campaign_whatever_its_case(self, book):
        first, second = book.campaign(2), book.campaign(9000)
        book.ledger.campaigns.add_rows(second.id, [book.row(20_000)])

        found = book.ledger.results.find("Person-2@LANE-0.example")

        assert [(campaign.id, row.id) for campaign, row, _ in found] == [
            (first.id, *book.ids(first, 2)),
            (second.id, *book.ids(second, 2)),
        ]
        assert len(book.ledger.results.find("person-8999@lane-0.example")) == 1
        assert len(book.ledger.results.find("person-20000@lane-0.example")) == 1
        assert book.ledger.results.find("nobody@lane-0.example") == []


class TestWhatIsKept:
    def test_blobs_by_their_hash(self, book):
        name = sha256(b"\x00logo").hexdigest()
        for slug in ("one", "two"):
            book.ledger.campaigns.create(NewCampaign(slug, slug, slug, {}), {name: b"\x00logo"})

        assert book.ledger.blobs.get(name) == b"\x00logo"
        assert book.ledger.blobs.several([name, "f00"]) == {name: b"\x00logo"}
        with pytest.raises(LedgerError, match="f00 is missing from the ledger"):
            book.ledger.blobs.get("f00")

    def test_suppressions_keep_their_first_reason(self, book):
        suppressions = book.ledger.suppressions
        suppressions.add("A@x.example", "bulk", "first")
        suppressions.add("a@x.example", "bulk", "second")

        (entry,) = suppressions.list()
        assert (entry.address, entry.stream, entry.reason) == ("a@x.example", "bulk", "first")
        assert suppressions.among(["a@X.example"], "bulk") == {"a@X.example"}
        assert suppressions.among(["a@x.example"], "transactional") == set()
        assert suppressions.remove("a@x.EXAMPLE", "bulk")
        assert not suppressions.remove("a@x.example", "bulk")
        assert suppressions.list() == []

    def test_memories_are_exchanged_in_one_step(self, book):
        exchange = book.ledger.buckets.exchange

        def change(known, now):
            return {"a": {"seen": now}, "b": {"n": known.get("b", {}).get("n", 0) + 1}}, dict(known)

        assert exchange(["a", "b"], change) == {}
        assert exchange(["b"], change) == {"b": {"n": 1}}
        assert exchange(["a", "b", "c"], lambda known, _: ({}, known)) == {
            "a": {"seen": book.clock.now},
            "b": {"n": 2},
        }

    def test_a_change_that_fails_leaves_no_memory(self, book):
        def fail(known, now):
            raise LookupError

        with pytest.raises(LookupError):
            book.ledger.buckets.exchange(["a"], fail)
        assert book.ledger.buckets.exchange(["a"], lambda known, _: ({}, known)) == {}
