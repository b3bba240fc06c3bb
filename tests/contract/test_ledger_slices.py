"""What a worker may do with rows, and what it may not."""

from __future__ import annotations

import pytest

from mailer.ledger.contract import Recovery, Settlement
from mailer.message import State
from tests.ledgers import LEASE, LEDGERS, Book

PENDING, CLAIMED, SENDING = State.PENDING, State.CLAIMED, State.SENDING
ACCEPTED, DEFERRED, REJECTED = State.ACCEPTED, State.DEFERRED, State.REJECTED
UNKNOWN, CANCELLED, SUPPRESSED = State.UNKNOWN, State.CANCELLED, State.SUPPRESSED


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


def recovered(book: Book) -> Recovery:
    book.clock.sleep(LEASE + 1)
    return book.ledger.slices.recover()


class TestClaim:
    def test_brings_what_the_engine_needs(self, book):
        campaign = book.campaign(2)

        claimed = book.claim(campaign, 1, 2)

        assert (claimed.campaign_id, claimed.suppressed, claimed.now) == (campaign.id, 0, book.clock.now)
        assert [row.id for row in claimed.rows] == book.ids(campaign, 1, 2)
        row = claimed.rows[0]
        assert (row.address, row.lane, row.cells) == ("person-1@lane-0.example", "lane-0", '{"n": 1}')
        assert (row.attempts, row.first_tried_at, row.version) == (0, None, campaign.version)
        assert book.states(campaign) == [CLAIMED, CLAIMED]

    def test_a_row_belongs_to_one_claim_and_fences_grow(self, book):
        campaign = book.campaign(3)

        first = book.claim(campaign, 1, 2)
        second = book.claim(campaign, 2, 3, worker="bert")

        assert [row.id for row in second.rows] == book.ids(campaign, 3)
        assert second.fence > first.fence
        assert not book.claim(campaign, 1, 2, 3).rows

    def test_leaves_rows_that_are_not_due(self, book):
        campaign = book.campaign(1)
        held = book.claim(campaign, 1)
        book.settle(held, 1, DEFERRED, due_at=book.clock.now + 30)

        assert book.claim(campaign, 1).rows == []
        book.clock.sleep(30)
        assert len(book.claim(campaign, 1).rows) == 1

    @pytest.mark.parametrize("ids", [[], [1 << 40], [-5]])
    def test_of_nothing_is_an_empty_slice(self, book, ids):
        claimed = book.ledger.slices.claim(ids, "anna", LEASE)

        assert (claimed.fence, claimed.rows) == (0, [])

    def test_takes_the_campaign_of_the_first_id_and_leaves_the_others(self, book):
        one, other = book.campaign(1), book.campaign(1)

        claimed = book.ledger.slices.claim(book.ids(other, 1) + book.ids(one, 1), "anna", LEASE)

        assert [row.id for row in claimed.rows] == book.ids(other, 1)
        assert book.states(one) == [PENDING]

    @pytest.mark.parametrize("halt", ["pause", "cancel", "schedule", "leave unopened"])
    def test_needs_a_running_campaign(self, book, halt):
        start_at = book.clock.now + 60 if halt == "schedule" else None
        campaign = book.campaign(1, start_at=start_at, opened=halt != "leave unopened")
        if halt == "pause":
            book.ledger.campaigns.pause(campaign.id, "by hand")
        if halt == "cancel":
            book.ledger.campaigns.cancel(campaign.id)

        assert book.claim(campaign, 1).rows == []

    @pytest.mark.parametrize("stream", ["bulk", "*"])
    def test_settles_suppressed_addresses_at_once(self, book, stream):
        campaign = book.campaign(2, stream="bulk")
        book.ledger.suppressions.add("PERSON-1@lane-0.example", stream, "asked us to stop")

        claimed = book.claim(campaign, 1, 2)

        assert claimed.suppressed == 1
        assert [row.id for row in claimed.rows] == book.ids(campaign, 2)
        assert book.states(campaign) == [SUPPRESSED, CLAIMED]

    def test_a_suppression_of_another_stream_does_not_count(self, book):
        campaign = book.campaign(1, stream="transactional")
        book.ledger.suppressions.add("person-1@lane-0.example", "bulk", "asked us to stop")

        assert book.claim(campaign, 1).suppressed == 0


class TestMark:
    def test_counts_once(self, book):
        campaign = book.campaign(2)
        claimed = book.claim(campaign, 1, 2)

        assert book.mark(claimed, 1, 1, 2) == [True, False, True]
        assert book.mark(claimed, 1) == [False]
        assert book.states(campaign) == [SENDING, SENDING]

    def test_needs_the_current_fence(self, book):
        campaign = book.campaign(1)
        old = book.claim(campaign, 1)
        recovered(book)
        new = book.claim(campaign, 1, worker="bert")

        assert book.mark(old, 1) == [False]
        assert book.mark(new, 1) == [True]

    def test_needs_a_lease_that_lasts(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        book.clock.sleep(LEASE)

        assert book.mark(claimed, 1) == [False]

    def test_of_many_slices_at_once(self, book):
        one, other = book.campaign(2), book.campaign(1)
        first, second = book.claim(one, 1, 2), book.claim(other, 1)
        marks = [(row.id, claimed.fence) for claimed in (first, second) for row in claimed.rows]
        swapped = (first.rows[0].id, second.fence)

        assert book.ledger.slices.mark([*marks, swapped]) == [True, True, True, False]

    def test_is_refused_from_the_moment_of_a_pause(self, book):
        campaign = book.campaign(2)
        claimed = book.claim(campaign, 1, 2)
        assert book.mark(claimed, 1) == [True]

        book.ledger.campaigns.pause(campaign.id, "by hand")

        assert book.mark(claimed, 2) == [False]
        assert book.settle(claimed, 2, PENDING, spent=False)
        assert book.settle(claimed, 1, ACCEPTED)
        assert book.states(campaign) == [ACCEPTED, PENDING]


class TestSettle:
    def test_keeps_what_the_other_side_said(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        book.mark(claimed, 1)
        book.clock.sleep(3)
        said = {
            "code": 250,
            "enhanced": "2.0.0",
            "reply": "Ok: queued",
            "reason": "accepted",
            "backend": "main",
            "reference": "ABC",
            "copies": "[]",
        }

        assert book.settle(claimed, 1, ACCEPTED, phase="dot", **said)

        (row,) = book.rows(campaign)
        assert said == {name: getattr(row, name) for name in said}
        assert (row.state, row.attempts, row.settled_at, row.due_at) == (ACCEPTED, 1, book.clock.now, None)

    @pytest.mark.parametrize("state", sorted(set(State) - {CLAIMED, SENDING, UNKNOWN}))
    @pytest.mark.parametrize("marked", [False, True])
    def test_from_claimed_and_from_sending(self, book, state, marked):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        if marked:
            book.mark(claimed, 1)

        assert book.settle(claimed, 1, state)
        assert book.states(campaign) == [state]

    def test_unknown_comes_from_sending_only(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)

        assert not book.settle(claimed, 1, UNKNOWN)
        book.mark(claimed, 1)
        assert book.settle(claimed, 1, UNKNOWN)

    @pytest.mark.parametrize("state", [CLAIMED, SENDING])
    def test_never_into_flight(self, book, state):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)

        assert not book.settle(claimed, 1, state)

    def test_counts_once(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)

        accepted, rejected = (Settlement(claimed.rows[0].id, claimed.fence, s) for s in (ACCEPTED, REJECTED))
        assert book.ledger.slices.settle([accepted, rejected]) == [True, False]
        assert book.ledger.slices.settle([rejected]) == [False]
        assert book.states(campaign) == [ACCEPTED]

    def test_with_an_older_fence_is_refused(self, book):
        campaign = book.campaign(1)
        old = book.claim(campaign, 1)
        recovered(book)
        new = book.claim(campaign, 1, worker="bert")

        assert not book.settle(old, 1, ACCEPTED)
        assert book.settle(new, 1, REJECTED)
        assert book.states(campaign) == [REJECTED]

    def test_counts_after_the_lease_has_run_out(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        book.mark(claimed, 1)
        book.clock.sleep(LEASE + 1)

        assert book.settle(claimed, 1, ACCEPTED)

    @pytest.mark.parametrize("state", [ACCEPTED, REJECTED, DEFERRED])
    def test_a_late_answer_settles_an_unknown_row_and_the_attempt_counts_once(self, book, state):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        book.mark(claimed, 1)
        recovered(book)
        assert book.states(campaign) == [UNKNOWN]

        assert book.settle(claimed, 1, state)

        (row,) = book.rows(campaign)
        assert (row.state, row.attempts) == (state, 1)

    def test_what_is_in_doubt_since_an_earlier_try_is_unknown_without_a_mark(self, book):
        campaign = book.campaign(1)
        first = book.claim(campaign, 1)
        book.mark(first, 1)
        book.settle(first, 1, DEFERRED, phase="answer")
        again = book.claim(campaign, 1)

        assert again.rows[0].unsure
        assert book.settle(again, 1, UNKNOWN)
        assert book.states(campaign) == [UNKNOWN]

    def test_an_unknown_row_is_not_given_back(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        book.mark(claimed, 1)
        recovered(book)

        assert not book.settle(claimed, 1, PENDING, spent=False)

    def test_an_attempt_that_was_spent_goes_into_the_history(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        book.mark(claimed, 1)
        book.settle(claimed, 1, DEFERRED, due_at=book.clock.now + 5, code=451, phase="dot", reply="later")
        first_try = book.clock.now
        book.clock.sleep(5)
        again = book.claim(campaign, 1)

        assert (again.rows[0].attempts, again.rows[0].first_tried_at) == (1, first_try)
        ((_, row, (attempt,)),) = book.ledger.results.find("person-1@lane-0.example")
        assert (attempt.number, attempt.state, attempt.code, attempt.phase) == (1, DEFERRED, 451, "dot")
        assert row.attempts == 1

    @pytest.mark.parametrize("marked", [False, True])
    def test_what_is_given_back_was_never_tried(self, book, marked):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)
        if marked:
            book.mark(claimed, 1)
        assert book.settle(claimed, 1, PENDING, spent=False, due_at=book.clock.now + 5, reason="a limit")

        (row,) = book.rows(campaign)
        assert (row.state, row.attempts, row.due_at, row.reason) == (
            PENDING,
            0,
            book.clock.now + 5,
            "a limit",
        )
        book.clock.sleep(5)
        assert book.claim(campaign, 1).rows[0].first_tried_at is None
        assert book.ledger.results.find(row.address)[0][2] == []

    def test_what_a_cancelled_campaign_gets_back_is_cancelled(self, book):
        campaign = book.campaign(3)
        claimed = book.claim(campaign, 1, 2, 3)
        book.mark(claimed, 1, 2)
        book.ledger.campaigns.cancel(campaign.id)

        assert book.settle(claimed, 1, ACCEPTED)
        assert book.settle(claimed, 2, DEFERRED, due_at=book.clock.now + 5)
        assert book.settle(claimed, 3, PENDING, spent=False)
        assert book.states(campaign) == [ACCEPTED, CANCELLED, CANCELLED]

    def test_may_put_the_address_on_the_suppression_list(self, book):
        campaign = book.campaign(1)
        claimed = book.claim(campaign, 1)

        book.settle(claimed, 1, REJECTED, suppress=True, reason="no such mailbox")

        assert book.ledger.suppressions.among(["Person-1@lane-0.example", "b@x"], "transactional") == {
            "Person-1@lane-0.example"
        }
        assert book.ledger.suppressions.list()[0].reason == "no such mailbox"


class TestRecovery:
    def test_judges_each_row_by_how_far_it_was(self, book):
        campaign = book.campaign(4)
        first = book.claim(campaign, 3)
        book.settle(first, 3, DEFERRED, due_at=book.clock.now)
        claimed = book.claim(campaign, 1, 2, 3)
        book.mark(claimed, 1)

        assert recovered(book) == Recovery(leases=2, returned=2, unknown=1)
        assert book.states(campaign) == [UNKNOWN, PENDING, DEFERRED, PENDING]
        assert [row.attempts for row in book.rows(campaign)] == [1, 0, 1, 0]
        assert len(book.claim(campaign, 1, 2, 3).rows) == 2

    def test_tries_unknown_rows_again_where_the_campaign_says_so(self, book):
        campaign = book.campaign(2, spec={"on_unknown": "retry"})
        claimed = book.claim(campaign, 1, 2)
        book.mark(claimed, 1)

        assert recovered(book) == Recovery(leases=1, returned=1, retried=1)
        assert book.states(campaign) == [PENDING, PENDING]
        assert not book.settle(claimed, 1, ACCEPTED)
        ((_, row, (attempt,)),) = book.ledger.results.find("person-1@lane-0.example")
        assert (row.attempts, attempt.state) == (1, UNKNOWN)

    def test_of_a_cancelled_campaign_cancels(self, book):
        campaign = book.campaign(2, spec={"on_unknown": "retry"})
        claimed = book.claim(campaign, 1, 2)
        book.mark(claimed, 1)
        book.ledger.campaigns.cancel(campaign.id)

        recovered(book)

        assert book.states(campaign) == [UNKNOWN, CANCELLED]

    def test_leaves_leases_that_last(self, book):
        campaign = book.campaign(1)
        book.claim(campaign, 1)
        book.clock.sleep(LEASE - 1)

        assert book.ledger.slices.recover() == Recovery()

    def test_takes_nothing_from_the_next_claim_of_a_row(self, book):
        campaign = book.campaign(2)
        old = book.claim(campaign, 1, 2)
        book.settle(old, 1, PENDING, spent=False)
        book.clock.sleep(LEASE - 1)
        new = book.claim(campaign, 1, worker="bert")
        book.clock.sleep(2)

        assert book.ledger.slices.recover() == Recovery(leases=1, returned=1)
        assert book.states(campaign) == [CLAIMED, PENDING]
        assert book.mark(new, 1) == [True]

    def test_of_more_leases_than_fit_one_transaction(self, book):
        campaign = book.campaign(50)
        for ordinal in range(1, 51):
            book.claim(campaign, ordinal)

        assert recovered(book) == Recovery(leases=50, returned=50)

    def test_a_heartbeat_keeps_a_lease_but_revives_none(self, book):
        campaign = book.campaign(2)
        kept, lost = book.claim(campaign, 1), book.claim(campaign, 2)
        book.clock.sleep(LEASE - 1)
        book.ledger.slices.heartbeat([kept.fence], LEASE)
        book.clock.sleep(2)
        book.ledger.slices.heartbeat([kept.fence, lost.fence], LEASE)

        assert book.ledger.slices.recover() == Recovery(leases=1, returned=1)
        book.ledger.slices.heartbeat([lost.fence], LEASE)
        assert (book.mark(kept, 1), book.mark(lost, 2)) == ([True], [False])

    def test_an_abandoned_worker_loses_its_rows_at_once(self, book):
        campaign = book.campaign(2)
        gone, other = book.claim(campaign, 1, worker="anna"), book.claim(campaign, 2, worker="bert")

        book.ledger.slices.abandon("anna")
        book.ledger.slices.heartbeat([gone.fence], LEASE)

        assert book.ledger.slices.recover() == Recovery(leases=1, returned=1)
        assert (book.mark(gone, 1), book.mark(other, 2)) == ([False], [True])

    def test_a_closed_slice_is_forgotten_and_one_with_rows_in_flight_is_not(self, book):
        campaign = book.campaign(2)
        done, left = book.claim(campaign, 1), book.claim(campaign, 2)
        book.settle(done, 1, ACCEPTED)

        book.ledger.slices.close([done.fence, left.fence])

        assert recovered(book) == Recovery(leases=1, returned=1)
        assert book.states(campaign) == [ACCEPTED, PENDING]
