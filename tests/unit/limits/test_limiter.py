"""The limiter in one process: several keys at once, all or nothing, many callers, one store."""

import asyncio
from collections import defaultdict

import pytest

from mailer.delivery.contract import Grant
from mailer.delivery.limits.exchange import Exchanged
from mailer.delivery.limits.limiter import WindowLimiter
from mailer.delivery.limits.memory import MemoryLimiter, MemoryStore
from mailer.delivery.limits.plan import BackendRates, Limits


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits():
    main = BackendRates(rates=("1000/h",), lanes={"gmail": ("100/h",)})
    return Limits({"main": main}, clock=Clock())


@pytest.fixture
def log():
    return defaultdict(int)


@pytest.fixture
def limiter(limits, clock, log):
    def add(key, granted, at):
        log[key] += granted

    return MemoryLimiter(limits, clock=clock, patience=0.0, grant_log=add)


GMAIL = ("backend:main", "lane:main:gmail")


async def test_the_narrowest_of_several_keys_decides_and_all_are_charged_alike(limiter, log):
    grant = await limiter.take(GMAIL, 150)

    assert grant.granted == 100
    assert grant.wait == pytest.approx(3600)
    assert log == {"backend:main": 100, "lane:main:gmail": 100}


async def test_what_one_key_refuses_is_charged_to_none(limiter, log):
    await limiter.take(GMAIL, 100)
    await limiter.take(GMAIL, 50)

    assert log["backend:main"] == 100
    assert (await limiter.take(("backend:main",), 1000)).granted == 900


async def test_asking_what_is_available_takes_nothing(limiter):
    for _ in range(3):
        assert (await limiter.available(GMAIL)).granted == 100


async def test_without_keys_everything_may_go(limiter):
    assert await limiter.take((), 5000) == Grant(5000)
    assert (await limiter.available(())).granted > 1_000_000


async def test_callers_that_come_together_share_one_call_to_the_store(limits, clock):
    calls = []

    class Counting(MemoryStore):
        async def exchange(self, keys, change):
            calls.append(tuple(keys))
            await asyncio.sleep(0)
            return await super().exchange(keys, change)

    limiter = WindowLimiter(limits, Exchanged(Counting(clock)), patience=0.0)
    grants = await asyncio.gather(*(limiter.take(GMAIL, 15) for _ in range(10)))

    assert sum(grant.granted for grant in grants) == 100
    assert len(calls) <= 2


async def test_a_caller_that_gave_up_takes_nothing_from_the_others(limiter):
    async def impatient():
        async with asyncio.timeout(0):
            await limiter.take(GMAIL, 100)

    with pytest.raises(TimeoutError):
        await impatient()

    assert (await limiter.take(GMAIL, 100)).granted == 100


async def test_what_the_store_raises_reaches_every_caller_and_the_next_call_works(limits, clock):
    class Broken(MemoryStore):
        broken = True

        async def exchange(self, keys, change):
            if self.broken:
                raise OSError("disk full")
            return await super().exchange(keys, change)

    store = Broken(clock)
    limiter = WindowLimiter(limits, Exchanged(store), patience=0.0)
    answers = await asyncio.gather(*(limiter.take(GMAIL, 1) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)

    store.broken = False
    assert (await limiter.take(GMAIL, 1)).granted == 1


async def test_a_slowed_lane_goes_at_half_its_flow_and_recovers(limiter, limits, clock):
    limits.keys_for("free", "yahoo", messages=100)  # in the first second: a flow of 100/s
    assert limits.keys_for("free", "yahoo") == ()

    await limiter.slow_down("lane:free:yahoo")
    keys = limits.keys_for("free", "yahoo")
    assert keys == ("lane:free:yahoo",)

    assert await granted_in(limiter, keys, clock, seconds=10) == pytest.approx(500, rel=0.1)

    clock.now += 600
    assert (await limiter.take(keys, 100_000)).granted == 100_000
    assert limits.keys_for("free", "yahoo") == ()


async def test_a_lane_with_a_rate_is_slowed_below_it_and_never_goes_above_it_again(clock):
    limits = Limits({"main": BackendRates(lanes={"gmail": ("100/s",)})}, clock=Clock())
    limiter = MemoryLimiter(limits, clock=clock, patience=0.0)
    keys = limits.keys_for("main", "gmail", messages=0)
    await limiter.slow_down("lane:main:gmail")

    assert await granted_in(limiter, keys, clock, seconds=10) == pytest.approx(500, rel=0.1)

    clock.now += 600
    assert limits.keys_for("main", "gmail") == keys
    assert await granted_in(limiter, keys, clock, seconds=10) == pytest.approx(1000, rel=0.03)


async def test_many_replies_at_once_halve_once(limiter, limits, clock):
    limits.keys_for("free", "yahoo", messages=100)
    for _ in range(10):
        await limiter.slow_down("lane:free:yahoo")
    keys = limits.keys_for("free", "yahoo")

    assert await granted_in(limiter, keys, clock, seconds=10) == pytest.approx(500, rel=0.1)


async def test_nothing_goes_before_the_time_that_was_named(limiter, limits, clock):
    await limiter.slow_down("lane:main:gmail", 120.0)

    grant = await limiter.take(GMAIL, 10)
    assert grant.granted == 0
    assert grant.wait == pytest.approx(120)


async def granted_in(limiter, keys, clock, seconds):
    until, granted = clock.now + seconds, 0
    while clock.now < until:
        grant = await limiter.take(keys, 50)
        granted += grant.granted
        clock.now += max(grant.wait, 0.001)
    return granted


async def test_a_take_waits_a_moment_for_room_and_then_gets_all_of_it():
    limiter = MemoryLimiter(Limits({"main": BackendRates(rates=("20/s",))}), patience=5.0)
    started = asyncio.get_running_loop().time()  # before: from then on there is room again
    await limiter.take(("backend:main",), 5)

    grant = await limiter.take(("backend:main",), 5)

    assert grant.granted == 5
    assert asyncio.get_running_loop().time() - started >= 0.1


async def test_the_pump_is_told_what_will_be_there_when_its_hint_arrives(limits, clock):
    limiter = MemoryLimiter(Limits({"main": BackendRates(rates=("20/s",))}), clock=clock, patience=0.2)
    await limiter.take(("backend:main",), 5)

    assert (await limiter.available(("backend:main",))).granted == 2
