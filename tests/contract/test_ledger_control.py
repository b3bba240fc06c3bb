"""What people may change while a campaign is under way."""

from __future__ import annotations

import pytest

from mailer.errors import StateConflict
from mailer.ledger.contract import CampaignState, Runner
from mailer.message import State
from tests.ledgers import LEDGERS


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


class TestPausedBackends:
    def test_are_listed_until_they_are_resumed(self, book):
        backends = book.ledger.backends
        assert backends.paused() == frozenset()

        assert backends.pause("main", "the provider asked us to stop")
        assert not backends.pause("main", "by hand")
        backends.pause("other", "by hand")

        assert backends.paused() == {"main", "other"}
        assert [(one.name, one.since, one.reason) for one in backends.list()] == [
            ("main", book.clock.now, "the provider asked us to stop"),
            ("other", book.clock.now, "by hand"),
        ]
        assert backends.resume("main")
        assert not backends.resume("main")
        assert backends.paused() == {"other"}

    def test_their_time_does_not_count_against_retries_and_counts_once(self, book):
        here, elsewhere = book.campaign(1, backend="main"), book.campaign(1, backend="other")
        book.ledger.backends.pause("main", "by hand")
        book.clock.sleep(10)
        book.ledger.campaigns.pause(here.id, "by hand")  # on top of it
        book.clock.sleep(10)
        book.ledger.campaigns.resume(here.id)
        book.clock.sleep(10)
        book.ledger.backends.resume("main")
        book.clock.sleep(10)

        assert book.claim(here, 1).blocked_seconds == 30.0
        assert book.now(here).halted_since is None
        assert book.now(elsewhere).blocked_seconds == 0.0

    def test_what_waits_for_them_is_not_overdue(self, book):
        book.campaign(1, backend="main")
        book.clock.sleep(400)
        assert book.ledger.workers.oldest_due() == 400.0

        book.ledger.backends.pause("main", "by hand")
        assert book.ledger.workers.oldest_due() == 0.0

    def test_a_route_stands_still_while_each_of_its_backends_is_paused(self, book):
        backends, routes = book.ledger.backends, {"both": ["main", "spare"], "one": ["third"]}
        campaign = book.campaign(1, backend="both")
        backends.pause("main", "by hand")
        backends.follow(routes)
        assert backends.paused() == {"main"}

        backends.pause("spare", "by hand")
        backends.follow(routes)
        backends.follow(routes)
        book.clock.sleep(10)
        assert backends.paused() == {"main", "spare", "both"}
        backends.resume("main")
        backends.follow(routes)
        book.clock.sleep(10)

        assert backends.paused() == {"spare"}
        assert book.claim(campaign, 1).blocked_seconds == 10.0

    def test_a_route_that_a_person_paused_stays_so(self, book):
        book.ledger.backends.pause("both", "by hand")
        book.ledger.backends.follow({"both": ["main", "spare"]})

        assert book.ledger.backends.paused() == {"both"}

    def test_a_campaign_that_comes_to_one_waits_from_then_on(self, book):
        book.ledger.backends.pause("main", "by hand")
        fresh = book.campaign(1, backend="main")
        moved = book.campaign(1, backend="other")
        later = book.campaign(1, backend="main", start_at=book.clock.now + 5)
        book.ledger.campaigns.set_backend(moved.id, "main")
        book.clock.sleep(10)
        book.ledger.schedule.runnable(Runner.EMBEDDED)
        book.clock.sleep(10)
        book.ledger.campaigns.set_backend(moved.id, "third")
        book.ledger.backends.resume("main")

        blocked = [book.now(one).blocked_seconds for one in (fresh, moved, later)]
        assert blocked == [20.0, 20.0, 10.0]


class TestChanges:
    def test_raise_the_revision_that_a_claim_tells(self, book):
        campaign = book.campaign(5)
        assert book.claim(campaign, 1).revision == 1

        book.ledger.campaigns.set_rates(campaign.id, ["5/s"])
        book.ledger.campaigns.set_priority(campaign.id, 7)
        book.ledger.campaigns.set_backend(campaign.id, "second")
        book.ledger.campaigns.set_backend(campaign.id, "second")

        now = book.now(campaign)
        assert (now.spec["rates"], now.priority, now.backend, now.version) == (["5/s"], 7, "second", 1)
        assert book.claim(campaign, 2).revision == now.revision == 4

    def test_a_correction_needs_a_pause_and_nothing_in_flight(self, book):
        campaign = book.campaign(3, spec={"subject": "Wrong", "rates": ["5/s"]})
        early = book.claim(campaign, 1, 2)
        with pytest.raises(StateConflict, match="it is running; `mailer pause` stops it"):
            book.ledger.campaigns.correct(campaign.id, {"subject": "Right"})
        book.ledger.campaigns.pause(campaign.id, "by hand")
        with pytest.raises(StateConflict, match="2 of its messages are in flight"):
            book.ledger.campaigns.correct(campaign.id, {"subject": "Right"})
        book.settle(early, 1, State.ACCEPTED)
        book.settle(early, 2, State.PENDING, spent=False)

        book.ledger.campaigns.correct(campaign.id, {"subject": "Right"})
        book.ledger.campaigns.resume(campaign.id)

        assert book.now(campaign).spec == {"subject": "Right", "rates": ["5/s"]}
        book.settle(book.claim(campaign, 2, 3), 3, State.ACCEPTED)
        assert [row.version for row in book.rows(campaign)] == [1, 2, 2]

    def test_another_time_to_start(self, book):
        start = book.clock.now + 60
        campaign = book.campaign(1, start_at=start)
        book.ledger.campaigns.schedule(campaign.id, start + 60)
        book.clock.now = start + 1
        assert book.ledger.schedule.runnable(Runner.EMBEDDED) == []

        book.ledger.campaigns.schedule(campaign.id, None)

        assert book.now(campaign).state is CampaignState.RUNNING
        with pytest.raises(StateConflict, match="has started already"):
            book.ledger.campaigns.schedule(campaign.id, None)


class TestTryingRefusedRowsAgain:
    def test_lifts_the_suppressions_that_their_refusal_made_and_no_others(self, book):
        campaign = book.campaign(4)
        book.ledger.suppressions.add("person-2@lane-0.example", reason="by hand, before")
        claimed = book.claim(campaign, 1, 3, 4)
        book.settle(claimed, 1, State.REJECTED, suppress=True)
        book.settle(claimed, 3, State.REJECTED)
        book.clock.sleep(1)
        book.settle(claimed, 4, State.REJECTED, suppress=True)
        book.clock.sleep(1)
        book.ledger.suppressions.add("PERSON-3@lane-0.example", reason="asked for it")

        again = book.ledger.campaigns.retry(campaign.id, [State.REJECTED])

        assert (again.rows, again.lifted) == (3, 2)
        left = {one.address for one in book.ledger.suppressions.list()}
        assert left == {"person-2@lane-0.example", "person-3@lane-0.example"}
        assert book.ledger.campaigns.retry(campaign.id, [State.FAILED]).lifted == 0


def test_reasons_are_counted_for_one_campaign_and_some_states(book):
    other, campaign = book.campaign(1), book.campaign(4)
    held = book.claim(campaign, 1, 2, 3)
    book.mark(held, 1, 2, 3)
    no_mailbox = {"code": 550, "enhanced": "5.1.1", "reason": "There is no such mailbox."}
    for ordinal in (1, 2):
        book.settle(held, ordinal, State.REJECTED, reply=f"<p{ordinal}@x.example> unknown", **no_mailbox)
    book.settle(held, 3, State.ACCEPTED)

    told = book.ledger.results.reasons(campaign.id, [State.REJECTED, State.UNKNOWN])

    assert told == [(State.REJECTED, 550, "5.1.1", "There is no such mailbox.", 2)]
    assert book.ledger.results.reasons(other.id, [State.REJECTED]) == []
