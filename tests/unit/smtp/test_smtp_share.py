"""A pool that has only a share of the connections: it opens no more, and gives back what it is told to."""

import asyncio

from mailer.backends import share
from mailer.backends.contract import SharesConnections, Use
from mailer.message import Accepted, Fenced
from tests.servers import PATIENCE
from tests.unit.smtp.scripted import Marks, backend_for, message, serving


async def until(true):
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.002)


async def test_nothing_is_opened_before_it_is_allowed_and_wanting_is_said_at_once():
    woken = asyncio.Event()
    async with serving() as server, backend_for(server, connections=5) as backend:
        assert isinstance(backend, SharesConnections)
        backend.share(woken.set)
        assert backend.demand() == Use()
        backend.allow(0)

        sending = asyncio.create_task(backend.send([message(n) for n in range(30)], Marks()))
        async with asyncio.timeout(PATIENCE):
            await woken.wait()
        assert backend.demand() == Use(0, 5)
        assert server.visits == []
        backend.allow(2)
        outcomes = await sending

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert server.most == 2


async def test_who_had_enough_says_at_once_that_it_wants_more_and_says_it_once():
    woken = []
    async with serving() as server, backend_for(server, connections=5) as backend:
        backend.share(lambda: woken.append(server.most))
        backend.allow(1)
        await backend.send([message(1)], Marks())
        backend.demand()
        backend.allow(1)
        assert woken == []

        first = asyncio.create_task(backend.send([message(n) for n in range(2, 40)], Marks()))
        second = asyncio.create_task(backend.send([message(n) for n in range(40, 80)], Marks()))
        await asyncio.gather(first, second)

    assert woken == [1]


async def test_a_smaller_share_closes_the_idle_and_then_the_busy_in_good_order():
    async with serving() as server, backend_for(server, connections=6, idle="1h") as backend:
        backend.share(lambda: None)
        backend.allow(6)
        await backend.send([message(n) for n in range(60)], Marks())
        await until(lambda: server.open > 1)
        backend.demand()
        backend.allow(1)
        await until(lambda: server.open == 1)

        sending = asyncio.create_task(backend.send([message(n) for n in range(60, 400)], Marks()))
        backend.demand()
        backend.allow(3)
        await until(lambda: server.open == 3)
        backend.demand()
        backend.allow(1)
        await until(lambda: server.open == 1)
        outcomes = await sending

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert len(server.stored) == 400
    assert server.log.count("QUIT") == len(server.visits)


async def test_from_the_question_to_the_answer_nothing_is_opened():
    async with serving() as server, backend_for(server, connections=4) as backend:
        backend.share(lambda: None)
        backend.allow(4)
        assert backend.demand() == Use()
        first = asyncio.create_task(backend.send([message(1)], Marks()))
        await until(lambda: server.open == 1)
        await first
        use = backend.demand()
        second = asyncio.create_task(backend.send([message(n) for n in range(2, 200)], Marks()))
        await second

        assert use.open == 1
        assert len(server.visits) == 1


async def test_messages_that_find_no_connection_are_given_back(monkeypatch):
    monkeypatch.setattr(share, "STARVED_SECONDS", 0.05)
    async with serving() as server, backend_for(server, connections=4) as backend:
        backend.share(lambda: None)
        sending = asyncio.create_task(backend.send([message(1), message(2)], Marks()))
        while not sending.done():
            await asyncio.sleep(0.01)
            backend.demand()
            backend.allow(0)

    assert await sending == [Fenced(), Fenced()]
    assert server.visits == []
