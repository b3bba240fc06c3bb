"""Many messages, several sessions: who gets what, and what happens when sessions come and go."""

from __future__ import annotations

import asyncio

import pytest

from mailer.backends.smtp import pool
from mailer.errors import BackendUnusable
from mailer.message import Accepted, Deferred, Fenced, Unknown
from tests.idle_time import in_idle_time
from tests.servers import PATIENCE
from tests.unit.smtp.scripted import (
    DROP,
    Act,
    Marks,
    Scripted,
    Visit,
    backend_for,
    gone,
    message,
    serving,
)

GOODBYE = "421 4.7.0 enough for one connection"


def after(count: int, act: Act):
    """Each connection ends like this once so many messages went over it."""

    def script(step: str, visit: Visit) -> Act | None:
        return act if step == "MAIL" and visit.stored >= count else None

    return script


def assert_each_once(server: Scripted, numbers: range) -> None:
    assert sorted(to for _, (to,), _ in server.stored) == sorted(f"user{n}@test.example" for n in numbers)


async def test_never_more_connections_than_allowed_and_all_of_them_used() -> None:
    async with serving() as server, backend_for(server, connections=4) as backend:
        calls = [backend.send([message(100 * c + n) for n in range(50)], Marks()) for c in range(6)]
        batches = await asyncio.gather(*calls)

    assert all(isinstance(outcome, Accepted) for outcomes in batches for outcome in outcomes)
    assert server.most == 4
    assert len(server.stored) == 300


async def test_few_messages_open_few_connections() -> None:
    async with serving() as server, backend_for(server, connections=10) as backend:
        await backend.send([message(1), message(2)], Marks())
        await backend.send([message(3)], Marks())
        assert len(server.visits) <= 2


async def test_first_come_first_served_over_all_callers() -> None:
    async with serving() as server, backend_for(server) as backend:
        calls = [
            asyncio.ensure_future(backend.send([message(10 * c + n) for n in range(3)], Marks()))
            for c in range(4)
        ]
        await asyncio.gather(*calls)

    assert [to for _, (to,), _ in server.stored] == [
        f"user{10 * c + n}@test.example" for c in range(4) for n in range(3)
    ]


@pytest.mark.parametrize("act", [gone(GOODBYE), DROP, Act("421 bye"), Act(reset=True)])
@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_a_server_that_takes_only_so_many_per_connection(act: Act, pipelining: str) -> None:
    async with (
        serving(after(5, act)) as server,
        backend_for(server, connections=2, pipelining=pipelining) as backend,
    ):
        outcomes = await backend.send([message(n) for n in range(40)], Marks())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert_each_once(server, range(40))


async def test_max_messages_ends_a_connection_in_good_order() -> None:
    async with serving() as server, backend_for(server, max_messages="3") as backend:
        outcomes = await backend.send([message(n) for n in range(8)], Marks())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert [visit.stored for visit in server.visits] == [3, 3, 2]
    assert server.log.count("QUIT") == 3


@pytest.mark.parametrize("farewell", ["", "421 4.4.2 idle for too long"])
async def test_an_idle_connection_that_the_server_closed_is_nobodys_fault(farewell: str) -> None:
    async with serving() as server:
        writers: list[asyncio.StreamWriter] = []
        serve = server.serve

        async def remember(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await serve(reader, writer)

        server.serve = remember
        async with backend_for(server) as backend:
            await backend.send([message(1)], Marks())
            writers[0].write(f"{farewell}\r\n".encode() if farewell else b"")
            writers[0].close()
            while server.open:
                await asyncio.sleep(0.001)
            marks = Marks()
            (outcome,) = await backend.send([message(2)], marks)

    assert isinstance(outcome, Accepted)
    assert marks.asked == [2]


@in_idle_time
async def test_idle_connections_are_closed() -> None:
    async with serving() as server, backend_for(server, connections=3, idle="50ms") as backend:
        await backend.send([message(n) for n in range(6)], Marks())
        async with asyncio.timeout(PATIENCE):
            while server.open:
                await asyncio.sleep(0.005)
        assert server.log.count("QUIT") == len(server.visits)
        assert isinstance((await backend.send([message(9)], Marks()))[0], Accepted)


async def test_one_slow_session_does_not_hold_up_the_others() -> None:
    release = asyncio.Event()

    async def mark(outgoing) -> bool:
        if outgoing.id == 0:
            await release.wait()
        return True

    async with serving() as server, backend_for(server, connections=2) as backend:
        slow = asyncio.ensure_future(backend.send([message(0)], mark))
        await asyncio.sleep(0)
        others = await backend.send([message(n) for n in range(1, 20)], mark)
        assert not slow.done()
        release.set()
        assert isinstance((await slow)[0], Accepted)

    assert all(isinstance(outcome, Accepted) for outcome in others)


@pytest.mark.parametrize(
    "refusal", [gone("421 4.7.0 too many connections"), gone("554 too many connections"), DROP]
)
async def test_a_server_that_allows_fewer_connections_costs_no_message(refusal: Act) -> None:
    def script(step: str, visit: Visit) -> Act | None:
        return refusal if step == "CONNECT" and server.open > 2 else None

    async with serving(script) as server, backend_for(server, connections=6) as backend:
        outcomes = await backend.send([message(n) for n in range(200)], Marks())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert_each_once(server, range(200))


@in_idle_time
async def test_more_connections_are_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GROW_AFTER", 0.02)
    allowed = 1

    def script(step: str, visit: Visit) -> Act | None:
        return gone("421 4.7.0 too many") if step == "CONNECT" and server.open > allowed else None

    async def mark(outgoing) -> bool:
        nonlocal allowed
        allowed = 3 if outgoing.id >= 5 else 1
        await asyncio.sleep(0.01)
        return True

    async with serving(script) as server, backend_for(server, connections=3) as backend:
        outcomes = await backend.send([message(n) for n in range(150)], mark)

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert sum(visit.stored > 0 for visit in server.visits) == 3


async def test_nothing_listens() -> None:
    async with serving() as server:
        pass
    async with backend_for(server, connections=3) as backend:
        with pytest.raises(BackendUnusable, match="refuses connections") as caught:
            await backend.send([message(n) for n in range(5)], Marks())

    assert not caught.value.lasting


async def test_a_server_that_goes_away_for_good_defers_the_rest() -> None:
    """Part of the batch was sent, so it is no exception; the other batch was not, so it is one."""

    def script(step: str, visit: Visit) -> Act | None:
        if step == "CONNECT" and visit.number > 0:
            return DROP
        return DROP if step == "RCPT" and visit.stored == 3 else None

    async with serving(script) as server, backend_for(server) as backend:
        first = asyncio.ensure_future(backend.send([message(n) for n in range(6)], Marks()))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(backend.send([message(n) for n in range(10, 12)], Marks()))
        outcomes = await first
        with pytest.raises(BackendUnusable):
            await second

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3 + [Deferred] * 3
    assert len(server.stored) == 3


async def test_a_server_that_closes_every_fresh_connection_is_given_up() -> None:
    """Accepted, greeted, closed: connecting again and again would never end."""

    def script(step: str, visit: Visit) -> Act | None:
        return DROP if step == "MAIL" else None

    async with serving(script) as server, backend_for(server, connections=2) as backend:
        outcomes = await backend.send([message(n) for n in range(6)], Marks())

    assert all(isinstance(outcome, Deferred) for outcome in outcomes)
    assert len(server.visits) <= 6


async def test_a_lost_lease_at_one_session_leaves_the_others_alone() -> None:
    async with serving() as server, backend_for(server, connections=3) as backend:
        outcomes = await backend.send([message(n) for n in range(30)], Marks(4, 9, 20))

    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Fenced)] == [4, 9, 20]
    assert len(server.stored) == 27


async def test_a_caller_that_goes_away_takes_its_waiting_messages_along() -> None:
    gate = asyncio.Event()
    asked: list[int] = []

    async def mark(outgoing) -> bool:
        asked.append(outgoing.id)
        await gate.wait()
        return True

    async with serving() as server, backend_for(server) as backend:
        leaving = asyncio.ensure_future(backend.send([message(n) for n in range(5)], mark))
        while not asked:
            await asyncio.sleep(0.001)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.set()
        (outcome,) = await backend.send([message(9)], Marks())

    assert isinstance(outcome, Accepted)
    assert asked == [0]
    assert server.copies("user3@test.example") == 0


async def test_closing_lets_what_is_under_way_finish() -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def mark(outgoing) -> bool:
        entered.set()
        await gate.wait()
        return True

    async with serving() as server, backend_for(server) as backend:
        sending = asyncio.ensure_future(backend.send([message(1), message(2)], mark))
        await entered.wait()
        closing = asyncio.ensure_future(backend.close())
        await asyncio.sleep(0.01)
        gate.set()
        await closing
        outcomes = await sending
        with pytest.raises(BackendUnusable):
            await backend.send([message(3)], Marks())

    assert [type(outcome) for outcome in outcomes] == [Accepted, Deferred]
    assert server.log[-1] == "QUIT"


@in_idle_time
async def test_closing_does_not_wait_for_ever() -> None:
    """After the time a dot may take, what has no answer is Unknown."""
    async with (
        serving(lambda step, _: Act(hang=True) if step == "DOT" else None) as server,
        backend_for(server, timeout_dot="200ms") as backend,
    ):
        sending = asyncio.ensure_future(backend.send([message(1), message(2)], Marks()))
        while b"One line." not in server.received:
            await asyncio.sleep(0.001)
        await backend.close()
        first, second = await sending

    assert isinstance(first, Unknown)
    assert isinstance(second, Deferred)


async def test_an_empty_batch_is_nothing() -> None:
    async with serving() as server, backend_for(server) as backend:
        assert list(await backend.send([], Marks())) == []
    assert server.visits == []


async def test_where_few_connections_are_allowed_a_finished_one_is_replaced_at_once(monkeypatch) -> None:
    """Two at a time, five messages each: nobody waits for the next attempt to grow."""
    monkeypatch.setattr(pool, "GROW_AFTER", 2 * PATIENCE)
    refused: set[int] = set()

    def script(step: str, visit: Visit) -> Act | None:
        at_work = [one for one in server.visits if one.stored < 5 and one.number not in refused]
        if step == "CONNECT" and len(at_work) > 2:
            refused.add(visit.number)
            return gone("421 4.7.0 too many connections")
        return gone(GOODBYE) if step == "MAIL" and visit.stored >= 5 else None

    async with serving(script) as server, backend_for(server, connections=4) as backend:
        async with asyncio.timeout(PATIENCE):
            outcomes = await backend.send([message(n) for n in range(100)], Marks())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert_each_once(server, range(100))


async def test_a_message_that_meets_the_end_of_one_session_after_the_other_is_sent(monkeypatch) -> None:
    """Both have had their fill, and no third is let in while they are there."""
    monkeypatch.setattr(pool, "GROW_AFTER", 2 * PATIENCE)
    full: set[int] = set()
    left: set[int] = set()

    def script(step: str, visit: Visit) -> Act | None:
        if step == "CONNECT" and full - left:
            return gone("421 4.7.0 too many connections")
        if step == "MAIL" and visit.number in full:
            left.add(visit.number)
            return gone(GOODBYE)
        return None

    async with serving(script) as server, backend_for(server, connections=2) as backend:
        async with asyncio.timeout(PATIENCE):
            while sum(visit.stored > 0 for visit in server.visits) < 2:
                await backend.send([message(n) for n in range(10)], Marks())
            full.update(visit.number for visit in server.visits)
            (outcome,) = await backend.send([message(10)], Marks())

    assert isinstance(outcome, Accepted)
    assert len(left) == 2


async def test_closing_does_not_wait_for_a_connection_that_is_being_opened() -> None:
    def script(step: str, visit: Visit) -> Act | None:
        return Act(hang=True) if step == "CONNECT" else None

    async with serving(script) as server, backend_for(server) as backend:
        sending = asyncio.ensure_future(backend.send([message(1)], Marks()))
        while not server.visits:
            await asyncio.sleep(0.001)
        async with asyncio.timeout(PATIENCE):
            await backend.close()
        with pytest.raises(BackendUnusable):
            await sending
