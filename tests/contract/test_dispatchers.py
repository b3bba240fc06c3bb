"""One suite over all dispatchers. A hint is a hint, whichever way it takes to an engine.

Mail goes to a real sink, because children and workers are other processes: what it received is the truth.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from mailer.backends.urls import parse
from mailer.delivery.contract import Dispatcher, Hint
from mailer.delivery.dispatcher import Done, InProcess
from mailer.delivery.hints import CeleryDispatcher
from mailer.delivery.processes import Processes
from mailer.delivery.station import Station, StationConfig
from mailer.ledger.contract import Campaign, Runner
from mailer.message import WAITING, State
from mailer.publisher import Publisher
from tests.delivering import World
from tests.servers import PATIENCE, SmtpSink, redis_server
from tests.working import worker, write_settings

Make = Callable[[World, StationConfig, Callable[[Done], None]], AbstractAsyncContextManager[Dispatcher]]


@asynccontextmanager
async def in_process(
    world: World, config: StationConfig, done: Callable[[Done], None]
) -> AsyncIterator[Dispatcher]:
    station = Station(config, world.writer)
    dispatcher = InProcess(station.engine, done=done)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
        await station.engine.close()


@asynccontextmanager
async def child_processes(
    world: World, config: StationConfig, done: Callable[[Done], None]
) -> AsyncIterator[Dispatcher]:
    dispatcher = Processes(config, 2, world.writer, done=done)
    await dispatcher.start()
    try:
        yield dispatcher
    finally:
        await dispatcher.close()


@asynccontextmanager
async def celery(
    world: World, config: StationConfig, done: Callable[[Done], None]
) -> AsyncIterator[Dispatcher]:
    folder = Path(world.url.removeprefix("sqlite:///")).parent
    backend = config.backends["main"]
    # The worker's own pump must not hint anything.
    assert world.ledger.schedule.lead(f"pump:{Runner.WORKERS}", "this test", 600)

    async def waiting_for(ids: Sequence[int]) -> Mapping[int, float]:
        return await asyncio.to_thread(world.ledger.schedule.waiting_for, ids)

    with redis_server() as redis:
        write_settings(folder, broker=redis.url, backend=f"{backend.url}?{urlencode(backend.options)}")
        publisher = Publisher(redis.url)
        dispatcher = CeleryDispatcher(publisher, waiting_for, done=done)
        with worker(folder):
            yield dispatcher
            await dispatcher.close()
        publisher.close()


#: Every way from the pump to an engine.
DISPATCHERS: Mapping[str, Make] = {
    "in process": in_process,
    "child processes": child_processes,
    "celery": celery,
}


@dataclass
class Stage:
    world: World
    sink: SmtpSink
    dispatcher: Dispatcher
    done: list[Done] = field(default_factory=list)

    def campaign(self, rows: int) -> Campaign:
        return self.world.campaign(rows)

    async def settled(self, campaign: Campaign) -> None:
        """Until no row waits or is under way."""
        await until(lambda: set(self.world.states(campaign)) <= {State.ACCEPTED})

    def copies(self) -> Counter[str]:
        return Counter(self.sink.recipients())


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture(params=DISPATCHERS)
async def stage(request, tmp_path, smtp_sink) -> AsyncIterator[Stage]:
    sink, world, done = smtp_sink(), World(tmp_path), []
    config = StationConfig(world.url, "contract", {"main": parse("main", sink.url)})
    async with DISPATCHERS[request.param](world, config, done.append) as dispatcher:
        yield Stage(world, sink, dispatcher, done)
    await world.close()


async def test_what_is_hinted_is_sent_once(stage: Stage):
    campaign = stage.campaign(300)
    ids = stage.world.ids(campaign, 300)

    for start in range(0, 300, 100):
        await stage.dispatcher.dispatch(Hint(tuple(ids[start : start + 100])))

    await stage.settled(campaign)
    assert sorted(stage.copies().values()) == [1] * 300


async def test_doubled_and_reordered_hints_change_nothing(stage: Stage):
    campaign = stage.campaign(60)
    ids = stage.world.ids(campaign, 60)
    hints = [Hint(tuple(ids[start : start + 20])) for start in (40, 0, 20, 0, 40, 20)]

    for hint in hints:
        await stage.dispatcher.dispatch(hint)

    await stage.settled(campaign)
    assert sorted(stage.copies().values()) == [1] * 60


async def test_one_recipient_per_hint_works_too(stage: Stage):
    campaign = stage.campaign(30)

    for id_ in stage.world.ids(campaign, 30):
        await stage.dispatcher.dispatch(Hint((id_,)))

    await stage.settled(campaign)
    assert sorted(stage.copies().values()) == [1] * 30


async def test_what_is_out_takes_room_until_it_is_done(stage: Stage):
    campaign = stage.campaign(20)
    ids = stage.world.ids(campaign, 20)
    free = stage.dispatcher.free()

    await stage.dispatcher.dispatch(Hint(tuple(ids)))

    assert stage.dispatcher.outstanding() >= set(ids)
    assert stage.dispatcher.free() <= free
    await until(lambda: not stage.dispatcher.outstanding())
    await stage.settled(campaign)
    assert [done.hint.ids for done in stage.done] == [tuple(ids)]
    assert stage.dispatcher.free() >= free


async def test_rows_that_are_gone_do_no_harm(stage: Stage):
    campaign = stage.campaign(3)
    ids = tuple(stage.world.ids(campaign, 3))
    await stage.dispatcher.dispatch(Hint(ids))
    await stage.settled(campaign)

    await stage.dispatcher.dispatch(Hint(ids))
    await stage.dispatcher.dispatch(Hint(tuple(id_ + 1000 for id_ in ids)))

    await until(lambda: not stage.dispatcher.outstanding())
    assert sorted(stage.copies().values()) == [1] * 3


async def test_once_drained_nothing_more_is_taken(stage: Stage):
    campaign = stage.campaign(400)
    ids = stage.world.ids(campaign, 400)
    await stage.dispatcher.dispatch(Hint(tuple(ids)))

    assert await stage.dispatcher.drain(PATIENCE)

    assert stage.dispatcher.free() == 0

    def settled() -> bool:
        states = stage.world.states(campaign)
        return set(states) <= {State.ACCEPTED, *WAITING} and len(stage.copies()) == states.get(
            State.ACCEPTED, 0
        )

    await until(settled)
