"""Many callers, few commits; and everybody gets an answer."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest

from mailer.errors import LedgerError
from mailer.ledger.contract import Settlement
from mailer.ledger.writer import GroupCommit
from mailer.message import State
from tests.ledgers import LEASE, sqlite

ACCEPTED, PENDING, SENDING = State.ACCEPTED, State.PENDING, State.SENDING


@pytest.fixture
def book(tmp_path):
    with sqlite(tmp_path) as book:
        yield book


@pytest.fixture
async def writer(book):
    writer = GroupCommit(book.ledger)
    yield writer
    await writer.close()


@pytest.fixture
def commits(book, monkeypatch):
    """One entry per transaction."""
    seen = []
    write = book.ledger.database.write

    @contextmanager
    def counted(*alone, **more):
        with write(*alone, **more) as tx:
            yield tx
        seen.append(tx.now)

    monkeypatch.setattr(book.ledger.database, "write", counted)
    return seen


async def hold(writer: GroupCommit) -> asyncio.Task[None]:
    """The writer is busy until the loop's next turn, so what is asked meanwhile queues."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def wait(_):
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()

    task = asyncio.create_task(writer.run(wait))
    await begun.wait()
    return task


async def test_a_row_from_claim_to_end(book, writer):
    campaign = book.campaign(2)
    claimed = await writer.claim(book.ids(campaign, 1, 2), "anna", LEASE)

    assert await writer.mark(claimed.rows[0].id, claimed.fence)
    assert not await writer.mark(claimed.rows[0].id, claimed.fence)
    assert await writer.settle(Settlement(claimed.rows[0].id, claimed.fence, ACCEPTED))
    assert await writer.run(lambda ledger: ledger.campaigns.in_flight(campaign.id)) == 1


async def test_what_queues_together_is_committed_together(book, writer, commits):
    campaign = book.campaign(50)
    claimed = await writer.claim(book.ids(campaign, *range(1, 51)), "anna", LEASE)
    busy = await hold(writer)
    commits.clear()

    marks = await asyncio.gather(*(writer.mark(row.id, claimed.fence) for row in claimed.rows), busy)

    assert marks == [True] * 50 + [None]
    assert len(commits) == 1


async def test_a_row_given_back_can_be_claimed_in_the_same_commit(book, writer, commits):
    campaign = book.campaign(1)
    (id_,) = book.ids(campaign, 1)
    claimed = await writer.claim([id_], "anna", LEASE)
    await hold(writer)
    commits.clear()

    back = writer.settle_soon(Settlement(id_, claimed.fence, PENDING, spent=False))
    again = await writer.claim([id_], "bert", LEASE)

    assert (await back, len(again.rows), len(commits)) == ([True], 1, 1)


async def test_one_bad_wish_fails_alone(book, writer):
    campaign = book.campaign(3)
    first, second, third = book.ids(campaign, 1, 2, 3)
    claimed = await writer.claim([first, second], "anna", LEASE)
    await hold(writer)

    answers = await asyncio.gather(
        writer.mark(first, claimed.fence),
        writer.claim([third, object()], "anna", LEASE),
        writer.settle(Settlement(second, claimed.fence, ACCEPTED, code=object())),
        writer.run(lambda ledger: 1 // 0),
        writer.run(lambda ledger: ledger.campaigns.state(campaign.id)),
        return_exceptions=True,
    )

    assert [type(answer).__name__ for answer in answers] == [
        "bool",
        "TypeError",
        "LedgerError",
        "ZeroDivisionError",
        "CampaignState",
    ]
    assert book.states(campaign) == [SENDING, State.CLAIMED, PENDING]


async def test_a_function_sees_what_was_settled_before_it(book, writer):
    campaign = book.campaign(1)
    claimed = await writer.claim(book.ids(campaign, 1), "anna", LEASE)

    writer.settle_soon(Settlement(claimed.rows[0].id, claimed.fence, ACCEPTED))

    assert await writer.run(lambda ledger: ledger.schedule.finish(campaign.id))


async def test_a_caller_that_gave_up_takes_nothing_from_the_others(book, writer):
    campaign = book.campaign(2)
    claimed = await writer.claim(book.ids(campaign, 1, 2), "anna", LEASE)
    await hold(writer)
    gone = asyncio.create_task(writer.mark(claimed.rows[0].id, claimed.fence))
    stays = asyncio.create_task(writer.mark(claimed.rows[1].id, claimed.fence))
    await asyncio.sleep(0)
    gone.cancel()

    assert await stays
    assert book.states(campaign) == [SENDING, SENDING]


async def test_closing_finishes_what_was_asked_for_and_refuses_the_rest(book):
    writer = GroupCommit(book.ledger)
    campaign = book.campaign(1)
    claimed = await writer.claim(book.ids(campaign, 1), "anna", LEASE)
    await hold(writer)

    mark = asyncio.create_task(writer.mark(claimed.rows[0].id, claimed.fence))
    await asyncio.sleep(0)
    await asyncio.gather(writer.close(), writer.close())

    assert await mark
    with pytest.raises(LedgerError, match="closed"):
        await writer.mark(claimed.rows[0].id, claimed.fence)
    assert book.states(campaign) == [SENDING]


async def test_many_marks_and_settlements_are_one_wish_each(book, writer, commits):
    campaign = book.campaign(3)
    claimed = await writer.claim(book.ids(campaign, 1, 2, 3), "anna", LEASE)
    ids = [row.id for row in claimed.rows]
    commits.clear()

    marks = await writer.mark_all([(ids[0], claimed.fence), (ids[0], claimed.fence), (ids[1], claimed.fence)])
    soon = [writer.settle_soon(Settlement(id_, claimed.fence, ACCEPTED)) for id_ in ids]

    assert marks == [True, False, True]
    assert (await soon[-1], soon[0] is soon[2], len(commits)) == ([True, True, True], True, 2)
    assert book.states(campaign) == [ACCEPTED, ACCEPTED, ACCEPTED]


async def test_one_bad_settlement_of_several_fails_alone_and_is_told(book, writer, caplog):
    campaign = book.campaign(3)
    claimed = await writer.claim(book.ids(campaign, 1, 2, 3), "anna", LEASE)
    first, second, third = (row.id for row in claimed.rows)

    writer.settle_soon(Settlement(first, claimed.fence, ACCEPTED))
    writer.settle_soon(Settlement(second, claimed.fence, ACCEPTED, code=object()))
    answers = await writer.settle_soon(Settlement(third, claimed.fence, ACCEPTED))

    assert answers == [True, False, True]
    assert book.states(campaign) == [ACCEPTED, State.CLAIMED, ACCEPTED]
    assert f"message {second}: settle not written" in caplog.text


async def test_settlements_of_which_none_can_be_written_raise(book, writer):
    campaign = book.campaign(2)
    claimed = await writer.claim(book.ids(campaign, 1, 2), "anna", LEASE)

    bad = [
        writer.settle_soon(Settlement(row.id, claimed.fence, ACCEPTED, code=object())) for row in claimed.rows
    ]

    with pytest.raises(LedgerError):
        await bad[0]


async def test_what_was_asked_for_right_before_the_end_is_written(book):
    writer = GroupCommit(book.ledger)
    campaign = book.campaign(1)
    claimed = await writer.claim(book.ids(campaign, 1), "anna", LEASE)

    writer.settle_soon(Settlement(claimed.rows[0].id, claimed.fence, ACCEPTED))
    await writer.close()

    assert book.states(campaign) == [ACCEPTED]
