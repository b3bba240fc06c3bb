"""A campaign from its opening to its end."""

from __future__ import annotations

import pytest

from mailer.errors import InputError, StateConflict
from mailer.ledger.contract import CampaignState, NewCampaign, Runner
from mailer.ledger.rows import PAGE
from mailer.message import State
from tests.ledgers import LEDGERS

PENDING, CLAIMED, SENDING = State.PENDING, State.CLAIMED, State.SENDING
ACCEPTED, DEFERRED, REJECTED = State.ACCEPTED, State.DEFERRED, State.REJECTED
UNKNOWN, CANCELLED, FAILED = State.UNKNOWN, State.CANCELLED, State.FAILED


@pytest.fixture(params=LEDGERS, ids=lambda kind: kind.__name__)
def book(request, tmp_path):
    with request.param(tmp_path) as book:
        yield book


class TestOpening:
    def test_keeps_what_it_is_told(self, book):
        new = NewCampaign(
            slug="november-7f3a",
            name="November",
            digest="d",
            spec={"subject": "Grüße", "rates": ["5/s"]},
            runner=Runner.WORKERS,
            stream="transactional",
            backend="main",
            priority=3,
            start_at=book.clock.now + 60,
        )

        campaign = book.ledger.campaigns.create(new)

        assert {name: getattr(campaign, name) for name in NewCampaign.__dataclass_fields__} == {
            name: getattr(new, name) for name in NewCampaign.__dataclass_fields__
        }
        assert (campaign.state, campaign.total, campaign.created_at) == (
            CampaignState.OPENING,
            0,
            book.clock.now,
        )

    def test_counts_in_whole_numbers(self, book):
        """PostgreSQL sums them up to decimals, which JSON would print as text."""
        campaign = book.now(book.campaign(3))
        counts = book.ledger.campaigns.counts(campaign.id).states

        assert {type(n) for n in (campaign.total, *counts.values())} == {int}

    def test_the_same_digest_again_is_the_same_campaign_until_it_is_open(self, book):
        first = book.campaign(1, opened=False, digest="same")
        assert book.campaign(1, opened=False, digest="same").id == first.id
        book.ledger.campaigns.opened(first.id, 0)

        second = book.campaign(1, digest="same")

        assert second.id != first.id
        assert [one.id for one in book.ledger.campaigns.by_digest("same")] == [first.id, second.id]

    def test_a_slug_is_taken_once(self, book):
        book.campaign(1, slug="twice")

        with pytest.raises(StateConflict, match="'twice' already"):
            book.campaign(1, slug="twice")

    def test_rows_are_in_once_however_often_they_come(self, book):
        campaign = book.campaign(0, opened=False)
        rows = [book.row(n) for n in range(1, 6)]

        assert book.ledger.campaigns.add_rows(campaign.id, rows[:3]) == 3
        assert book.ledger.campaigns.add_rows(campaign.id, iter(rows)) == 2
        assert book.ledger.campaigns.add_rows(campaign.id, [*rows, *rows]) == 0

        assert book.ledger.campaigns.opened(campaign.id, 7).total == 5
        assert book.ledger.campaigns.max_ordinal(campaign.id) == 5
        assert book.now(campaign).invalid_rows == 7
        assert book.states(campaign) == [PENDING] * 5

    def test_of_a_list_that_breaks_off_the_pages_before_are_in(self, book):
        campaign = book.campaign(0, opened=False)

        def list_of(rows):
            yield from map(book.row, range(1, rows + 1))
            raise InputError("the list ends in the middle")

        for more in (1, PAGE // 2 + 1):
            with pytest.raises(InputError, match="in the middle"):
                book.ledger.campaigns.add_rows(campaign.id, list_of(PAGE + more))
            assert book.ledger.campaigns.max_ordinal(campaign.id) == PAGE

        again = map(book.row, range(PAGE, PAGE + 3))
        assert book.ledger.campaigns.add_rows(campaign.id, again) == 2
        assert book.ledger.campaigns.opened(campaign.id, 0).total == PAGE + 2

    def test_runs_at_once_or_at_its_time(self, book):
        now = book.campaign(1)
        later = book.campaign(1, start_at=book.clock.now + 60)

        assert (now.state, now.started_at) == (CampaignState.RUNNING, book.clock.now)
        assert (later.state, later.started_at) == (CampaignState.SCHEDULED, None)
        assert [one.id for one in book.ledger.schedule.runnable(Runner.EMBEDDED)] == [now.id]
        book.clock.sleep(60)
        assert [one.id for one in book.ledger.schedule.runnable(Runner.EMBEDDED)] == [now.id, later.id]
        assert book.now(later).started_at == book.clock.now

    def test_a_finished_campaign_runs_again_when_rows_were_added(self, book):
        campaign = book.campaign(1)
        book.settle(book.claim(campaign, 1), 1, ACCEPTED)
        book.ledger.schedule.finish(campaign.id)
        assert book.ledger.campaigns.opened(campaign.id, 0).state is CampaignState.FINISHED

        book.ledger.campaigns.add_rows(campaign.id, [book.row(2)])
        again = book.ledger.campaigns.opened(campaign.id, 0)

        assert (again.state, again.finished_at, again.total) == (CampaignState.RUNNING, None, 2)


class TestFinding:
    def test_by_slug_or_a_unique_beginning_of_it(self, book):
        one, other = book.campaign(1, slug="news-1"), book.campaign(1, slug="news-12")

        assert book.ledger.campaigns.get("news-1").id == one.id
        assert book.ledger.campaigns.get("news-12").id == other.id
        with pytest.raises(
            InputError, match=r"'news' is the beginning of several campaigns: news-1, news-12"
        ):
            book.ledger.campaigns.get("news")

    def test_by_the_number_that_logs_give_unless_a_slug_begins_so(self, book):
        one = book.campaign(1)

        assert book.ledger.campaigns.get(str(one.id)).id == one.id
        other = book.campaign(1, slug=f"{one.id}-years")
        assert book.ledger.campaigns.get(str(one.id)).id == other.id

    @pytest.mark.parametrize("ref", ["", "%", "news_1", "other"])
    def test_names_what_there_is_when_nothing_fits(self, book, ref):
        book.campaign(1, slug="news-1")

        with pytest.raises(InputError, match="news-1"):
            book.ledger.campaigns.get(ref)

    def test_by_number(self, book):
        campaign = book.campaign(1)

        assert book.ledger.campaigns.by_id(campaign.id) == campaign
        assert book.ledger.campaigns.list() == [campaign]
        with pytest.raises(InputError, match="no campaign number 99"):
            book.ledger.campaigns.by_id(99)


class TestStates:
    def test_time_halted_is_added_up(self, book):
        campaign = book.campaign(1)
        for seconds in (10, 5):
            book.ledger.campaigns.pause(campaign.id, "by hand")
            assert book.now(campaign).halted_since == book.clock.now
            book.clock.sleep(seconds)
            book.ledger.campaigns.resume(campaign.id)
            book.clock.sleep(100)

        after = book.now(campaign)
        assert (after.blocked_seconds, after.halted_since, after.reason) == (15.0, None, None)
        assert book.claim(campaign, 1).blocked_seconds == 15.0

    def test_a_second_pause_keeps_the_first_reason(self, book):
        campaign = book.campaign(1)
        book.ledger.campaigns.pause(campaign.id, "the backend refuses our login")
        since = book.clock.now
        book.clock.sleep(5)
        book.ledger.campaigns.pause(campaign.id, "by hand")

        assert (book.now(campaign).reason, book.now(campaign).halted_since) == (
            "the backend refuses our login",
            since,
        )

    def test_what_was_paused_before_its_time_still_waits_for_it(self, book):
        campaign = book.campaign(1, start_at=book.clock.now + 60)
        book.ledger.campaigns.pause(campaign.id, "by hand")
        book.ledger.campaigns.resume(campaign.id)

        assert book.now(campaign).state is CampaignState.SCHEDULED

    def test_cancelling_is_exact(self, book):
        campaign = book.campaign(4)
        claimed = book.claim(campaign, 1, 2, 3)
        book.mark(claimed, 1)
        book.settle(claimed, 2, DEFERRED, due_at=book.clock.now + 60)

        book.ledger.campaigns.cancel(campaign.id)

        assert book.states(campaign) == [SENDING, CANCELLED, CLAIMED, CANCELLED]
        assert book.mark(claimed, 3) == [False]
        assert book.ledger.campaigns.in_flight(campaign.id) == 2

    def test_trying_again_is_exact_and_keeps_the_history(self, book):
        campaign = book.campaign(4)
        claimed = book.claim(campaign, 1, 2, 3, 4)
        for ordinal, state in enumerate((FAILED, REJECTED, ACCEPTED, FAILED), 1):
            book.settle(claimed, ordinal, state, code=550, reason="no")
        assert book.ledger.schedule.finish(campaign.id)

        assert book.ledger.campaigns.retry(campaign.id, [FAILED]).rows == 2

        assert book.states(campaign) == [PENDING, REJECTED, ACCEPTED, PENDING]
        assert book.now(campaign).state is CampaignState.RUNNING
        ((_, row, (attempt,)),) = book.ledger.results.find("person-1@lane-0.example")
        assert (row.attempts, row.code, row.reason) == (0, None, None)
        assert (attempt.state, attempt.code) == (FAILED, 550)
        assert book.claim(campaign, 1).rows[0].first_tried_at is None
        assert not book.settle(claimed, 1, ACCEPTED)

    @pytest.mark.parametrize("state", [PENDING, SENDING, ACCEPTED, CANCELLED])
    def test_what_is_accepted_or_under_way_is_never_sent_again(self, book, state):
        campaign = book.campaign(1)

        with pytest.raises(ValueError, match=state):
            book.ledger.campaigns.retry(campaign.id, [state])

    def test_finishes_when_nothing_waits_or_is_in_flight(self, book):
        campaign = book.campaign(2)
        claimed = book.claim(campaign, 1)
        book.settle(claimed, 1, REJECTED)
        assert not book.ledger.schedule.finish(campaign.id)
        claimed = book.claim(campaign, 2)
        assert not book.ledger.schedule.finish(campaign.id)
        book.settle(claimed, 2, ACCEPTED)

        assert book.ledger.schedule.finish(campaign.id)
        assert not book.ledger.schedule.finish(campaign.id)
        assert (book.now(campaign).state, book.now(campaign).finished_at) == (
            CampaignState.FINISHED,
            book.clock.now,
        )

    def test_a_paused_campaign_does_not_finish(self, book):
        campaign = book.campaign(0)
        book.ledger.campaigns.pause(campaign.id, "by hand")

        assert not book.ledger.schedule.finish(campaign.id)

    @pytest.mark.parametrize(
        ("action", "before", "advice"),
        [
            ("pause", "finish", "`mailer retry`"),
            ("resume", "leave", "`mailer pause`"),
            ("cancel", "finish", "`mailer retry`"),
            ("pause", "cancel", "`mailer send --again`"),
            ("retry", "cancel", "`mailer send --again`"),
            ("pause", "open", "the same `mailer send`"),
        ],
    )
    def test_the_impossible_says_what_to_do(self, book, action, before, advice):
        campaign = book.campaign(0, opened=before != "open")
        if before == "finish":
            book.ledger.schedule.finish(campaign.id)
        if before == "cancel":
            book.ledger.campaigns.cancel(campaign.id)
        arguments = {"pause": ("by hand",), "retry": ([FAILED],)}.get(action, ())

        with pytest.raises(StateConflict, match=f"cannot {action} campaign-1: it is .*{advice}"):
            getattr(book.ledger.campaigns, action)(campaign.id, *arguments)

    def test_changes_hands(self, book):
        campaign = book.campaign(1)
        book.ledger.campaigns.set_runner(campaign.id, Runner.WORKERS)

        assert [one.id for one in book.ledger.schedule.runnable(Runner.WORKERS)] == [campaign.id]
        assert book.ledger.schedule.runnable(Runner.EMBEDDED) == []
        assert book.ledger.campaigns.state(campaign.id) is CampaignState.RUNNING
