"""One run from lock to end: why it ends, and what it leaves."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from mailer.backends.contract import BackendConfig
from mailer.backends.memory import MemoryBackend
from mailer.delivery.epoch import RESTORED, SidecarEpoch, beside
from mailer.delivery.lock import campaign_lock
from mailer.delivery.orders import LIMIT_REACHED, Reason, RunResult
from mailer.delivery.runner import run_embedded
from mailer.delivery.stop import Stop
from mailer.errors import BackendUnusable, StateConflict
from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.message import Deferred, Reply, State
from tests.delivering import World
from tests.servers import PATIENCE

BACKENDS = {"main": BackendConfig("main", "memory://runner")}
LATER = Deferred(Reply("later", code=451))


@pytest.fixture
def outbox() -> MemoryBackend:
    return MemoryBackend("runner")


def campaign(world: World, rows: int, **spec) -> Campaign:
    return world.campaign(rows, runner=Runner.EMBEDDED, **spec)


async def run(world: World, one: Campaign, **settings) -> RunResult:
    return await run_embedded(world.url, one.id, **{"backends": BACKENDS, "stop": Stop()} | settings)


async def test_to_the_end(world: World, outbox: MemoryBackend):
    one = campaign(world, 500)
    seen = []

    result = await run(world, one, on_progress=lambda counts, rate: seen.append((counts, rate)))

    assert (result.reason, result.counts.states[State.ACCEPTED]) == (Reason.FINISHED, 500)
    assert len(outbox.messages) == len({message.message_id for message in outbox.messages}) == 500
    assert outbox.closed
    assert seen[-1][0] == result.counts
    assert world.now(one).state is CampaignState.FINISHED


async def test_a_finished_campaign_is_left_alone(world: World, outbox: MemoryBackend):
    one = campaign(world, 5)
    await run(world, one)

    assert (await run(world, one)).reason is Reason.FINISHED
    assert len(outbox.messages) == 5


async def test_a_limit_is_exact_and_the_next_run_goes_on(world: World, outbox: MemoryBackend):
    one = campaign(world, 100)

    first = await run(world, one, limit=30)

    assert (first.reason, first.detail) == (Reason.LIMIT, LIMIT_REACHED)
    assert len(outbox.messages) == 30
    assert world.now(one).state is CampaignState.PAUSED
    world.ledger.campaigns.resume(one.id)
    assert (await run(world, one)).reason is Reason.FINISHED
    assert len({message.recipients for message in outbox.messages}) == 100


async def test_it_ends_when_the_rest_is_due_too_late(world: World, outbox: MemoryBackend):
    outbox.outcomes = {"person-3@*": LATER}
    one = campaign(world, 5)

    result = await run(world, one, wait=5)

    assert result.reason is Reason.WAITING
    assert result.next_due is not None
    assert result.next_due > world.clock() + 5
    assert (result.counts.states[State.ACCEPTED], result.counts.states[State.DEFERRED]) == (4, 1)


async def test_it_waits_for_rows_that_are_due_soon(world: World, outbox: MemoryBackend):
    outbox.outcomes = {"person-3@*": [LATER]}
    one = campaign(world, 5, retry={"floor_seconds": 0.1, "ceilings": [0.2]})

    result = await run(world, one, wait=5)

    assert (result.reason, result.counts.states[State.ACCEPTED]) == (Reason.FINISHED, 5)


async def test_a_fault_that_a_person_must_mend(world: World, outbox: MemoryBackend):
    outbox.unusable = BackendUnusable("main", "535 wrong password", True)
    one = campaign(world, 50)

    result = await run(world, one)

    assert (result.reason, result.detail) == (Reason.PAUSED, "backend 'main': 535 wrong password")
    assert result.counts.states[State.PENDING] == 50


async def test_an_unreachable_server_is_waited_for_no_longer_than_asked(world: World, outbox: MemoryBackend):
    outbox.unusable = BackendUnusable("main", "connection refused")
    one = campaign(world, 50)

    result = await run(world, one, wait=1)

    assert (result.reason, result.detail) == (Reason.WAITING, "connection refused")
    assert result.counts.states[State.PENDING] == 50


async def test_told_once_it_gives_back_what_was_not_started(world: World, outbox: MemoryBackend):
    outbox.latency = 0.05
    one = campaign(world, 2000)
    stop = Stop()
    running = asyncio.create_task(run(world, one, stop=stop))
    await until(lambda: len(outbox.messages) > 20)

    stop.set()
    result = await running

    sent = len(outbox.messages)
    assert result.reason is Reason.INTERRUPTED
    assert world.states(one) == {State.ACCEPTED: sent, State.PENDING: 2000 - sent}
    assert sent < 1000


async def test_told_twice_it_abandons_what_is_under_way(world: World, outbox: MemoryBackend):
    outbox.latency = 3600
    one = campaign(world, 100)
    stop = Stop()
    running = asyncio.create_task(run(world, one, stop=stop))
    await until(lambda: len(outbox.messages) > 5)

    stop.set()
    stop.set()
    result = await running

    sent = len(outbox.messages)
    assert result.reason is Reason.INTERRUPTED
    assert world.states(one) == {State.UNKNOWN: sent, State.PENDING: 100 - sent}


async def test_a_pause_from_outside_ends_it(world: World, outbox: MemoryBackend):
    outbox.latency = 0.02
    one = campaign(world, 5000)
    running = asyncio.create_task(run(world, one))
    await until(lambda: len(outbox.messages) > 20)

    await world.writer.run(lambda ledger: ledger.campaigns.pause(one.id, "by hand"))
    result = await running

    assert (result.reason, result.detail) == (Reason.PAUSED, "by hand")
    assert world.states(one) == {
        State.ACCEPTED: len(outbox.messages),
        State.PENDING: 5000 - len(outbox.messages),
    }


async def test_a_cancelled_campaign_ends_it(world: World, outbox: MemoryBackend):
    outbox.latency = 0.02
    one = campaign(world, 5000)
    running = asyncio.create_task(run(world, one))
    await until(lambda: len(outbox.messages) > 20)

    await world.writer.run(lambda ledger: ledger.campaigns.cancel(one.id))

    assert (await running).reason is Reason.CANCELLED
    sent = len(outbox.messages)
    assert world.states(one) == {State.ACCEPTED: sent, State.CANCELLED: 5000 - sent}


async def test_a_second_run_is_told_who_runs_it(world: World):
    one = campaign(world, 5)

    with (
        campaign_lock(beside(world.url, f".{one.id}.lock"), ()),
        pytest.raises(StateConflict, match=f"process {os.getpid()} is sending"),
    ):
        await run(world, one)


async def test_a_campaign_of_the_workers_is_left_to_them(world: World):
    one = world.campaign(5, runner=Runner.WORKERS)

    with pytest.raises(StateConflict, match="the workers run this campaign"):
        await run(world, one)


async def test_what_a_dead_owner_held_is_free_at_once(world: World, outbox: MemoryBackend):
    one = campaign(world, 10)
    held = await world.writer.claim(world.ids(one, 10), "dead/0", 3600.0)
    await world.writer.mark(held.rows[0].id, held.fence)
    beside(world.url, f".{one.id}.lock").write_text(json.dumps({"pid": 1, "workers": ["dead/0"]}))

    result = await run(world, one, wait=5)

    assert (result.reason, len(outbox.messages)) == (Reason.FINISHED, 9)
    assert world.states(one) == {State.ACCEPTED: 9, State.UNKNOWN: 1}


async def test_a_restored_ledger_is_not_sent_from(world: World, outbox: MemoryBackend):
    one = campaign(world, 5)
    copy = SidecarEpoch(beside(world.url, ".epoch"))
    copy.write(world.ledger.schedule.epoch() + 100)

    with pytest.raises(StateConflict, match="restored from a backup"):
        await run(world, one)
    assert not outbox.messages
    assert RESTORED

    assert (await run(world, one, accept_epoch=True)).reason is Reason.FINISHED
    assert len(outbox.messages) == 5


async def test_a_scheduled_campaign_is_waited_for(world: World, outbox: MemoryBackend):
    one = campaign(world, 5, start_at=world.clock() + 1.2)

    result = await run(world, one)

    assert (result.reason, len(outbox.messages)) == (Reason.FINISHED, 5)


async def until(true) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)
