"""The dispatcher over a real broker; the ledger's part is a table of rows and how long they have been due."""

import asyncio
import base64
import json
import time

import pytest
from redis import Redis

from mailer.delivery import hints
from mailer.delivery.contract import Hint
from mailer.delivery.hints import CeleryDispatcher
from mailer.errors import LedgerBusy
from mailer.publisher import PREFIX, Publisher
from tests.servers import PATIENCE

#: A row that was due long before its hint.
LONG = 1e9


class Clock:
    """A hundredth of real time, so that no test is too slow, and what a test adds to it."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.monotonic() / 100 + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def waiting():
    return {}


@pytest.fixture
def done():
    return []


@pytest.fixture
async def dispatcher(redis_server, clock, waiting, done):
    async def waiting_for(ids):
        return {id_: waiting[id_] for id_ in ids if id_ in waiting}

    publisher = Publisher(redis_server.url)
    dispatcher = CeleryDispatcher(
        publisher, waiting_for, recipients_per_task=10, done=done.append, clock=clock
    )
    yield dispatcher
    await dispatcher.close()
    publisher.close()


@pytest.fixture
def redis(redis_server):
    with Redis(port=redis_server.port) as client:
        yield client


def published(redis, queue="bulk"):
    bodies = [json.loads(item)["body"] for item in redis.lrange(f"{PREFIX}{queue}", 0, -1)]
    return [tuple(json.loads(base64.b64decode(body))[0][0]) for body in reversed(bodies)]


async def until(true):
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_hint_goes_to_the_queue_of_its_stream(dispatcher, redis):
    await dispatcher.dispatch(Hint((1, 2, 3)))
    await dispatcher.dispatch(Hint((4,), "transactional"))

    await until(lambda: published(redis) == [(1, 2, 3)] and published(redis, "transactional") == [(4,)])


async def test_a_hint_is_outstanding_until_its_rows_are_claimed(dispatcher, waiting, done):
    waiting |= {1: LONG, 2: LONG}
    free = dispatcher.free()
    await dispatcher.dispatch(Hint((1, 2)))
    assert dispatcher.outstanding() == {1, 2}
    assert dispatcher.free() == free - 10  # a hint is a hint, however small
    await asyncio.sleep(3 * hints.LOOK_EVERY)
    assert dispatcher.outstanding() == {1, 2}

    waiting.clear()
    await until(lambda: not dispatcher.outstanding())
    assert [item.hint.ids for item in done] == [(1, 2)]


async def test_a_hint_that_nobody_claims_is_forgotten_after_five_seconds(dispatcher, redis, waiting, clock):
    waiting |= {1: LONG, 2: LONG}
    await dispatcher.dispatch(Hint((1, 2)))
    await until(lambda: published(redis))
    clock.ahead = hints.FORGOTTEN_AFTER - 1
    await asyncio.sleep(3 * hints.LOOK_EVERY)
    assert dispatcher.outstanding() == {1, 2}

    clock.ahead = hints.FORGOTTEN_AFTER + 1
    await until(lambda: not dispatcher.outstanding())


async def test_rows_that_were_claimed_and_given_back_may_be_hinted_again_at_once(dispatcher, waiting):
    waiting[1] = LONG
    await dispatcher.dispatch(Hint((1, 2)))
    await asyncio.sleep(3 * hints.LOOK_EVERY)
    assert dispatcher.outstanding()

    waiting[1] = 0.001  # due since a moment ago: somebody gave it back
    await until(lambda: not dispatcher.outstanding())


async def test_what_is_outstanding_is_bounded_until_claims_show_how_fast_it_goes(dispatcher, waiting):
    number = 0
    while dispatcher.free() > 0:
        waiting[number] = LONG
        await dispatcher.dispatch(Hint(tuple(range(number, number + 10))))
        number += 10

    assert number == 10 * hints.LEAST_HINTS
    assert dispatcher.free("transactional") == number  # bulk that nobody claims does not hold it up

    waiting.clear()  # all of them are claimed at once
    await until(lambda: dispatcher.free() > 10 * hints.LEAST_HINTS)


async def test_a_broker_that_is_down_is_left_alone_for_a_while_and_loses_nothing(
    hasty_publishers, dispatcher, redis_server, redis, waiting, done, clock
):
    redis_server.process.kill()
    waiting[1] = LONG
    await dispatcher.dispatch(Hint((1,)))
    await until(lambda: done)
    assert dispatcher.free() == 0
    assert not dispatcher.outstanding()

    redis_server.start()
    async with asyncio.timeout(PATIENCE):
        while not published(redis):  # two seconds may be too short for it on a busy machine
            if not dispatcher.outstanding():
                clock.ahead += hints.REST_AFTER_FAILURE + 1
                assert dispatcher.free() > 0
                await dispatcher.dispatch(Hint((1,)))
            await asyncio.sleep(0.01)
    assert published(redis) == [(1,)]


async def test_a_broker_that_hangs_never_holds_up_the_loop(dispatcher, redis_server, done):
    redis_server.process.pause()
    try:
        await dispatcher.dispatch(Hint((1,)))
        for _ in range(20):  # the loop turns, and the publish that it does not wait for is not over
            await asyncio.sleep(0.01)
            assert not done
    finally:
        redis_server.process.go_on()
    await until(lambda: done)


async def test_a_ledger_that_is_busy_does_not_end_the_follow_up(redis_server, clock):
    answers = [LedgerBusy("locked")]

    async def waiting_for(ids):
        if answers:
            raise answers.pop()
        return {}

    publisher = Publisher(redis_server.url)
    dispatcher = CeleryDispatcher(publisher, waiting_for, clock=clock)
    await dispatcher.dispatch(Hint((1,)))
    await until(lambda: not dispatcher.outstanding())
    await dispatcher.close()
    publisher.close()


async def test_after_closing_nothing_is_published(dispatcher, redis):
    assert await dispatcher.drain(1.0)
    await dispatcher.dispatch(Hint((1,)))

    assert dispatcher.free() == 0
    assert not dispatcher.outstanding()
    assert published(redis) == []
