"""One process finds out that a backend is out of order, and one tries it again."""

from __future__ import annotations

import asyncio

import pytest

from mailer.delivery.breaker import LONGEST_REST, Circuit
from mailer.delivery.circuits import KEY, PROBE_SECONDS, Circuits, broken
from mailer.delivery.limits.filling import Filling
from mailer.delivery.limits.journal import Journal
from mailer.delivery.limits.ledger import LedgerStore
from mailer.delivery.limits.memory import MemoryStore
from mailer.delivery.limits.redis import RedisStore
from mailer.errors import BackendUnusable, LimitsUnavailable
from mailer.message import State
from tests.delivering import ScriptedBackend, World, accepted
from tests.servers import PATIENCE


def away(_):
    return BackendUnusable("main", "connection refused", False)


class Workers:
    """Processes, each with an engine of its own over the same ledger and the same store."""

    def __init__(self, world: World, store, number: int = 4) -> None:
        self.world = world
        self.circuits = [Circuits(store, name=f"worker-{n}", clock=world.clock) for n in range(number)]
        self.backends = [ScriptedBackend(self.answer) for _ in range(number)]
        self.engines = [
            world.engine({"main": backend}, circuits=circuits)
            for backend, circuits in zip(self.backends, self.circuits, strict=True)
        ]
        self.script = away
        self.calls = 0

    def answer(self, message):
        self.calls += 1
        return self.script(message)

    async def hear(self) -> None:
        for _ in range(2):
            for circuits in self.circuits:
                await circuits.look()

    def states(self) -> list[Circuit]:
        return [engine.circuits()["main"] for engine in self.engines]

    async def all_deliver(self, campaign, rows: int) -> None:
        await asyncio.gather(
            *(engine.deliver(self.world.ids(campaign, rows)[n::4]) for n, engine in enumerate(self.engines))
        )


@pytest.fixture(params=["memory", "ledger"])
def store(request, world):
    return MemoryStore(world.clock) if request.param == "memory" else LedgerStore(world.writer)


async def test_what_one_finds_all_know_and_one_probe_is_enough(world: World, store):
    workers, campaign = Workers(world, store), world.campaign(40)

    await workers.engines[0].deliver(world.ids(campaign, 40)[:1])
    await workers.hear()
    assert workers.states() == [Circuit.OPEN] * 4
    await workers.all_deliver(campaign, 40)
    assert workers.calls == 1

    world.clock.ahead += 3
    await workers.all_deliver(campaign, 40)
    assert workers.calls == 2  # one probe for all
    await workers.hear()
    assert workers.states() == [Circuit.OPEN] * 4

    workers.script = accepted
    world.clock.ahead += 5
    await workers.engines[1].deliver(world.ids(campaign, 40)[:1])
    await workers.hear()
    assert workers.states() == [Circuit.CLOSED] * 4
    world.clock.ahead += 10
    await workers.all_deliver(campaign, 40)
    assert world.states(campaign) == {State.ACCEPTED: 40}
    assert max(row.attempts for row in world.rows(campaign)) == 1


async def test_what_is_shared_can_be_read_without_a_part_in_it(world: World, store):
    """As ``mailer backends list`` does: since when, until when, and why, without anybody's address."""
    workers, campaign = Workers(world, store), world.campaign(40)
    reason = "the login was refused (535 5.7.8 who is ada@private.example)"
    workers.script = lambda _: BackendUnusable("main", reason, False)

    async def seen(at=None):
        """``at`` a moment of our own, since time does not wait for a test."""
        return await store.exchange([KEY], lambda found, now: ({}, broken(found.get(KEY, {}), at or now)))

    assert await seen() == {}
    began = world.clock()
    await workers.engines[0].deliver(world.ids(campaign, 40)[:1])
    await workers.hear()
    first = (await seen(began))["main"]
    over = (await seen(first.until))["main"]
    world.clock.ahead += LONGEST_REST
    await workers.all_deliver(campaign, 40)
    await workers.hear()
    second = (await seen())["main"]
    workers.script = accepted
    world.clock.ahead += LONGEST_REST
    await workers.engines[1].deliver(world.ids(campaign, 40)[:1])
    await workers.hear()

    assert first.reason == "the login was refused (535 5.7.8 who is <address>)"
    assert (first.circuit, over.circuit) == (Circuit.OPEN, Circuit.HALF_OPEN)
    assert began <= first.since == second.since < first.until < second.until
    assert await seen() == {}


async def test_a_prober_that_dies_is_followed_by_another(world: World, store):
    workers, campaign = Workers(world, store, 2), world.campaign(2)
    await workers.engines[0].deliver(world.ids(campaign, 2)[:1])
    await workers.hear()
    world.clock.ahead += 3
    assert await workers.circuits[0].may_probe("main")
    assert not await workers.circuits[1].may_probe("main")

    world.clock.ahead += PROBE_SECONDS

    assert await workers.circuits[1].may_probe("main")


async def test_a_probe_that_came_to_nothing_is_left_to_the_others(world: World, store):
    workers, campaign = Workers(world, store, 2), world.campaign(2)
    await workers.engines[0].deliver(world.ids(campaign, 2)[:1])
    await workers.hear()
    world.clock.ahead += 3
    assert await workers.circuits[0].may_probe("main")

    workers.circuits[0].probed("main")  # its row was paused meanwhile
    await workers.hear()

    assert await workers.circuits[1].may_probe("main")


async def test_without_the_store_each_goes_by_what_it_finds(world: World):
    class Away:
        async def exchange(self, keys, change):
            raise LimitsUnavailable("gone")

    workers, campaign = Workers(world, Away(), 2), world.campaign(2)
    await workers.engines[0].deliver(world.ids(campaign, 2)[:1])
    await workers.hear()
    assert workers.states() == [Circuit.OPEN, Circuit.CLOSED]

    workers.script = accepted
    world.clock.ahead += 3
    await workers.engines[0].deliver(world.ids(campaign, 2)[:1])

    assert workers.states() == [Circuit.CLOSED, Circuit.CLOSED]


async def test_over_redis_they_are_kept_in_step_without_being_asked(world: World, redis_server):
    filling = Filling(redis_server.url, Journal())
    store = RedisStore(filling)
    workers, campaign = Workers(world, store, 2), world.campaign(2)
    for circuits in workers.circuits:
        circuits.start()

    await workers.engines[0].deliver(world.ids(campaign, 2)[:1])
    async with asyncio.timeout(PATIENCE):
        while workers.states() != [Circuit.OPEN, Circuit.OPEN]:
            await asyncio.sleep(0.01)

    for circuits in workers.circuits:
        await circuits.close()
    await filling.close()
