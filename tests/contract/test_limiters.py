"""One contract for every Limiter: in this process, over the ledger, and over a real Redis."""

import asyncio
import subprocess
import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.limits import grant_log
from mailer.delivery.contract import Grant
from mailer.delivery.limits import filling
from mailer.delivery.limits.copies import Copy
from mailer.delivery.limits.filling import SETTLE_SECONDS, ping
from mailer.delivery.limits.ledger import LedgerCopies, LedgerLimiter
from mailer.delivery.limits.memory import MemoryLimiter
from mailer.delivery.limits.plan import BackendRates, Limits, WarmupPlan
from mailer.delivery.limits.redis import RedisLimiter
from mailer.delivery.limits.slowing import Part
from mailer.delivery.limits.windows import BURST_SECONDS, URGENT_SECONDS
from mailer.errors import LimitsUnavailable
from mailer.ledger import open_ledger
from mailer.ledger.writer import GroupCommit
from tests import servers
from tests.ledgers import Clock, postgres_database
from tests.unit.limits.windows_seen import most_in_any_window

BACKEND, GMAIL = ("backend:main",), ("backend:main", "lane:main:gmail")
DAY = 86_400


@pytest.fixture(scope="module")
def redis():
    with servers.redis_server() as server:
        yield server


@pytest.fixture
def patient(monkeypatch):
    """A Redis that answers late is not away."""
    monkeypatch.setattr(filling, "PATIENCE", servers.PATIENCE)


class Place:
    """Where limits are shared: ``limiter`` is what one more process has of them."""

    def __init__(self, kind, url, clock):
        self.kind, self.url, self.clock = kind, url, clock
        self.closing = []
        self.memory = None

    def limiter(self, *, patience=0.0, grant_log=None, **rates):
        limits = Limits({"main": BackendRates(**rates)}, clock=self.clock)
        limiter = getattr(self, f"_{self.kind}")(limits, patience=patience, grant_log=grant_log)
        limiter.limits = limits
        return limiter

    def _memory(self, limits, **more):
        limiter = MemoryLimiter(limits, clock=self.clock, **more)
        if self.memory is None:
            self.memory = limiter._decider
        limiter._decider = self.memory
        return limiter

    def _ledger(self, limits, **more):
        writer = GroupCommit(open_ledger(self.url, clock=self.clock))
        self.closing += [writer.close]
        return LedgerLimiter(limits, writer, **more)

    _postgresql = _ledger

    def _redis(self, limits, **more):
        limiter = RedisLimiter(limits, self.url, clock=self.clock, **more)
        self.closing += [limiter.close]
        return limiter


@pytest.fixture(params=["memory", "ledger", "postgresql", "redis"])
async def place(request, stack, tmp_path, patient):
    url = f"sqlite:///{tmp_path}/mailer.db"
    if request.param == "postgresql":
        url = stack.enter_context(postgres_database())
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        subprocess.run(["redis-cli", "-p", str(server.port), "flushall"], check=True, capture_output=True)
        url = server.url
    place = Place(request.param, url, Clock())
    yield place
    for close in reversed(place.closing):
        await close()


async def test_the_narrowest_key_decides_and_all_are_charged_alike(place):
    log = Counter()
    limiter = place.limiter(
        rates=("1000/h",), lanes={"gmail": ("100/h",)}, grant_log=lambda key, n, at: log.update({key: n})
    )

    grant = await limiter.take(GMAIL, 150)
    refused = await limiter.take(GMAIL, 50)

    assert (grant.granted, refused.granted) == (100, 0)
    assert grant.wait == pytest.approx(3600)
    assert log == {"backend:main": 100, "lane:main:gmail": 100}
    assert (await limiter.available(BACKEND)).granted == 900


async def test_two_processes_share_a_limit_and_no_window_exceeds_it(place):
    log = []
    processes = [
        place.limiter(rates=("50/s", "500/h"), grant_log=lambda key, n, at: log.append((at, n)))
        for _ in range(2)
    ]
    for _ in range(300):
        await asyncio.gather(*(limiter.take(BACKEND, 7) for limiter in processes))
        place.clock.now += 0.04

    assert sum(granted for _, granted in log) == 500
    assert most_in_any_window(log, 1) <= 50


async def test_who_waits_as_told_gets_something(place):
    limiter = place.limiter(rates=("20/s", "100/min"))
    for _ in range(30):
        grant = await limiter.take(BACKEND, 30)
        place.clock.now += grant.wait + 1e-6
        assert (await limiter.take(BACKEND, 1)).granted == 1
        place.clock.now += 0.5


async def test_a_reply_halves_the_rate_and_it_recovers_by_equal_steps(place):
    limiter = place.limiter(lanes={"gmail": ("100/s",)})
    keys = ("lane:main:gmail",)
    await limiter.slow_down(keys[0])

    assert await granted_in(limiter, keys, place.clock, 5) == pytest.approx(250, rel=0.1)
    place.clock.now += 150
    assert await granted_in(limiter, keys, place.clock, 5) == pytest.approx(380, rel=0.1)
    place.clock.now += 150
    assert await granted_in(limiter, keys, place.clock, 5) == pytest.approx(500, rel=0.1)


async def test_what_one_process_was_asked_for_holds_in_all_though_the_lane_has_no_rate(place):
    asked, other = place.limiter(), place.limiter()
    await asked.slow_down("lane:main:gmail", 120.0)
    assert other.limits.keys_for("main", "gmail") == ()

    await other.hear()

    assert other.limits.keys_for("main", "gmail") == ("lane:main:gmail",)
    assert (await other.take(GMAIL[1:], 1)).granted == 0

    place.clock.now += 120.0 + 301.0
    late = place.limiter()
    await late.hear()
    assert late.limits.keys_for("main", "gmail") == ()


async def test_without_a_rate_all_processes_together_go_at_half_of_what_they_did(place):
    """Not at half of what the one did that was asked."""
    processes = [place.limiter() for _ in range(3)]
    lane = GMAIL[1:]
    for _ in range(20):  # each of them 20 a second
        for limiter in processes:
            limiter.limits.keys_for("main", "gmail", messages=20)
        place.clock.now += 1.0

    await processes[0].slow_down(lane[0])
    await processes[1].slow_down(lane[0])  # the answer to what was under way
    for limiter in processes:
        await limiter.hear()

    until, granted = place.clock.now + 10.0, 0
    while place.clock.now < until:
        for limiter in processes:
            granted += (await limiter.take(lane, 20)).granted
        place.clock.now += 0.1
    assert granted == pytest.approx(10 * 30, rel=0.1)


async def test_a_lane_is_held_for_as_long_as_the_other_side_says(place):
    limiter = place.limiter(lanes={"gmail": ("100/s",)})
    await limiter.slow_down("lane:main:gmail", 120.0)

    assert await limiter.take(GMAIL[1:], 1) == Grant(0, pytest.approx(120))


async def test_a_new_sender_gets_more_each_sending_day_and_a_day_of_rest_is_none(place):
    limiter = place.limiter(warmup=WarmupPlan((50, 100)))
    place.clock.now = 20_000 * DAY + 3600.0

    granted = [(await limiter.take(BACKEND, 80)).granted]
    refused = await limiter.take(BACKEND, 1)
    place.clock.now += 3 * DAY  # two days of rest: the second sending day comes now
    granted += [(await limiter.take(BACKEND, 80)).granted for _ in range(2)]
    place.clock.now += DAY
    granted.append((await limiter.take(BACKEND, 5000)).granted)

    assert granted == [50, 80, 20, 5000]
    assert refused == Grant(0, pytest.approx(DAY - 3600))


async def test_bulk_leaves_a_part_of_long_windows_and_of_warm_ups(place):
    bulk = place.limiter(rates=("100/h",), lanes={"gmail": ("30/h",)}, reserve=0.1)
    other = place.limiter(rates=("100/h",), lanes={"gmail": ("30/h",)}, reserve=0.1)

    assert (await bulk.available(BACKEND)).granted == 90
    assert (await bulk.take(GMAIL, 200)).granted == 27
    assert (await bulk.take(BACKEND, 200)).granted == 63
    refused = await bulk.take(BACKEND, 1)
    assert (refused.granted, refused.wait) == (0, pytest.approx(3600))
    assert (await other.available(GMAIL, urgent=True)).granted == 3
    assert (await other.take(GMAIL, 5, urgent=True)).granted == 3
    assert (await other.take(BACKEND, 50, urgent=True)).granted == 7
    assert (await other.take(BACKEND, 1, urgent=True)).granted == 0


async def test_bulk_leaves_a_part_of_a_sending_day(place):
    limiter = place.limiter(warmup=WarmupPlan((50, 100)), reserve=0.1)

    assert (await limiter.take(BACKEND, 80)).granted == 45
    assert (await limiter.take(BACKEND, 80, urgent=True)).granted == 5


async def test_of_a_short_window_transactional_mail_gets_what_comes_next(place):
    bulk, urgent = (place.limiter(rates=("2/s",), reserve=0.1) for _ in "12")
    while (await bulk.take(BACKEND, 1)).granted:
        pass

    wait = (await urgent.take(BACKEND, 1, urgent=True)).wait
    place.clock.now += wait
    assert (await bulk.take(BACKEND, 1)).granted == 0  # it is somebody's
    assert (await urgent.take(BACKEND, 1, urgent=True)).granted == 1
    place.clock.now += 0.51
    assert (await bulk.take(BACKEND, 1)).granted == 1


async def test_transactional_mail_that_does_not_come_back_is_not_waited_for_long(place):
    limiter = place.limiter(rates=("2/s",))
    while (await limiter.take(BACKEND, 1)).granted:
        pass
    wait = (await limiter.take(BACKEND, 1, urgent=True)).wait

    refused = await limiter.take(BACKEND, 1)
    place.clock.now += refused.wait

    assert refused.wait == pytest.approx(wait + URGENT_SECONDS)
    assert (await limiter.take(BACKEND, 1)).granted == 1


async def granted_in(limiter, keys, clock, seconds):
    until, granted = clock.now + seconds, 0
    while clock.now < until:
        grant = await limiter.take(keys, 50)
        granted += grant.granted
        clock.now += max(grant.wait, 0.001)
    return granted


# --- Redis and Python decide alike ----------------------------------------------------------------

RATES = st.lists(
    st.builds("{}/{}".format, st.integers(1, 400), st.sampled_from(["s", "min", "h", "d"])),
    max_size=2,
    unique_by=lambda rate: rate.partition("/")[2],
)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0.0001, 0.3), st.floats(0.5, 90), st.floats(3000, 100_000)),
        st.sampled_from(["take", "take", "take", "look", "slow", "hold", "join"]),
        st.sampled_from([BACKEND, GMAIL, GMAIL[1:]]),
        st.integers(1, 300),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rates=RATES,
    lanes=RATES,
    schedule=st.lists(st.integers(1, 300), max_size=3),
    reserve=st.floats(0, 1),
    steps=STEPS,
)
def test_the_script_decides_as_python_does(redis, patient, rates, lanes, schedule, reserve, steps):
    plan = WarmupPlan(tuple(schedule))
    own = {"rates": tuple(rates), "lanes": {"gmail": tuple(lanes)}, "warmup": plan, "reserve": reserve}

    async def both():
        clock = Clock(1_800_000_000.123456)
        python = MemoryLimiter(Limits({"main": BackendRates(**own)}), clock=clock, patience=0.0)
        script = RedisLimiter(Limits({"main": BackendRates(**own)}), redis.url, clock=clock, patience=0.0)
        await script.filling.redis.flushall()
        try:
            for after, *step in steps:
                clock.now += after
                assert await ask(script, *step) == await ask(python, *step)
        finally:
            await script.close()

    async def ask(limiter, what, keys, wanted, urgent):
        if what == "take":
            return await limiter.take(keys, wanted, urgent=urgent)
        if what == "look":
            return await limiter.available(keys, urgent=urgent)
        if what == "join":
            part = Part(f"process-{wanted % 3}", wanted / 7, 50.0 * urgent)
            return await limiter._decider.join(keys[-1], limiter._limits.terms(keys[-1]), part)
        limiter._name = f"process-{wanted % 2}"
        limiter._quiet_until.clear()
        return await limiter.slow_down(keys[-1], 20.0 if what == "hold" else None)

    asyncio.run(both())


# --- Redis that goes away -------------------------------------------------------------------------


async def test_without_redis_nothing_goes_and_with_it_things_go_on(redis_server):
    limiter = RedisLimiter(Limits({"main": BackendRates(rates=("100/s",))}), redis_server.url)
    assert (await eventually(limiter, 1)).granted == 1

    redis_server.process.pause()
    async with asyncio.timeout(servers.PATIENCE):  # and not for ever
        with pytest.raises(LimitsUnavailable, match=r"redis://127\.0\.0\.1"):
            await limiter.take(BACKEND, 1)
    redis_server.process.go_on()

    assert (await eventually(limiter, 1)).granted == 1
    redis_server.process.kill()
    with pytest.raises(LimitsUnavailable):
        await limiter.take(BACKEND, 1)
    redis_server.start()

    assert (await eventually(limiter, 1)).granted == 1
    await limiter.close()


async def eventually(limiter, wanted):
    deadline = time.monotonic() + servers.PATIENCE
    while True:
        try:
            grant = await limiter.take(BACKEND, wanted)
        except LimitsUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
            continue
        if grant.granted or grant.wait > 10:
            return grant
        assert time.monotonic() < deadline
        await asyncio.sleep(grant.wait)


async def test_whether_redis_is_there_can_be_asked(redis, patient):
    assert await ping(redis.url) == f"{redis.url}, Redis {redis_version(redis)}"

    with pytest.raises(LimitsUnavailable, match="ConnectionError"):
        await ping(f"redis://:secret@127.0.0.1:{servers.free_port()}/0")


def redis_version(server):
    said = subprocess.run(
        ["redis-cli", "-p", str(server.port), "info", "server"], check=True, capture_output=True, text=True
    )
    return next(line.partition(":")[2] for line in said.stdout.splitlines() if "redis_version" in line)


async def test_an_emptied_redis_forgets_no_long_window(redis_server, tmp_path, patient):
    """Neither what was copied to the ledger, nor what each process was granted since."""
    writer, clock = GroupCommit(open_ledger(f"sqlite:///{tmp_path}/mailer.db")), Clock()
    copies, rates = LedgerCopies(writer), BackendRates(rates=("1000/h",), warmup=WarmupPlan((900,)))
    one, two, again = (
        RedisLimiter(Limits({"main": rates}), redis_server.url, copies, patience=0.0, clock=clock)
        for _ in "123"
    )

    async def open_to_all():
        return (await one.available(BACKEND)).granted > 0

    await two.available(BACKEND)
    await one.take(BACKEND, 300)
    clock.now += 2.0
    await until(lambda: copied_at(copies, clock.now))
    clock.now += 0.5  # too soon for another copy
    await one.take(BACKEND, 200)
    await two.take(BACKEND, 100)

    await one.filling.redis.flushall()

    clock.now += 0.9
    await until(lambda: two_have_spoken(one))  # nobody asked them to
    assert (await one.take(BACKEND, 1)).granted == 0  # a second's window may be used up, and nobody knows
    clock.now += 0.2
    await until(open_to_all)
    assert (await one.take(BACKEND, 1000)).granted == 300
    assert (await two.take(BACKEND, 1000)).granted == 0
    for limiter in (one, two):
        await limiter.close()
    redis_server.restart()
    assert (await again.take(BACKEND, 1000)).granted == 0
    clock.now += SETTLE_SECONDS + 0.5
    assert (await again.take(BACKEND, 1000)).granted == 0
    await again.close()
    await writer.close()


async def test_an_emptied_redis_waits_for_who_is_silent_but_not_for_ever(redis_server, tmp_path, patient):
    writer, clock = GroupCommit(open_ledger(f"sqlite:///{tmp_path}/mailer.db")), Clock()
    copies, rates = LedgerCopies(writer), BackendRates(rates=("1000/h",))
    one, silent, new = (
        RedisLimiter(Limits({"main": rates}), redis_server.url, copies, patience=0.0, clock=clock)
        for _ in "123"
    )
    gate = asyncio.Event()
    silent.filling.when_emptied(gate.wait)

    async def take(limiter):
        return (await limiter.take(BACKEND, 100)).granted

    async def taken():
        return await take(one)

    await silent.filling.redis.flushall()
    assert [await take(limiter) for limiter in (one, silent)] == [100, 100]  # there was nothing before

    await one.filling.redis.flushall()
    assert [await take(limiter) for limiter in (one, silent, new)] == [0, 0, 0]
    clock.now += 1.1
    await until(lambda: two_have_spoken(one))
    assert await take(one) == 0
    gate.set()
    await until(taken)

    gate.clear()
    await one.filling.redis.flushall()
    assert [await take(limiter) for limiter in (one, new)] == [0, 0]
    clock.now += SETTLE_SECONDS / 2
    assert await take(one) == 0
    clock.now += SETTLE_SECONDS / 2 + 0.1
    assert await take(new) == 100

    gate.set()
    await silent.close()
    clock.now += 1.1
    await until(lambda: copied_at(copies, clock.now))
    await one.filling.redis.flushall()
    await until(taken)  # who has left has nothing to say
    for limiter in (one, new):
        await limiter.close()
    await writer.close()


async def test_a_copy_that_another_process_replaced_is_made_again(
    redis_server, tmp_path, patient, monkeypatch
):
    monkeypatch.setattr(filling, "RECOPY_SECONDS", 0.0)
    writer, clock = GroupCommit(open_ledger(f"sqlite:///{tmp_path}/mailer.db")), Clock()
    copies, rates = LedgerCopies(writer), BackendRates(rates=("1000/h",))
    limiter = RedisLimiter(Limits({"main": rates}), redis_server.url, copies, patience=0.0, clock=clock)
    await limiter.available(BACKEND)
    before = await copies.read()

    await copies.write(Copy(clock.now, ()))
    clock.now += 2.0
    await until(lambda: copied_at(copies, clock.now))

    assert (await copies.read()).memories == before.memories
    await limiter.close()
    await writer.close()


async def copied_at(copies, now):
    copy = await copies.read()
    return copy is not None and copy.at == now


async def two_have_spoken(limiter):
    fields = await limiter.filling.redis.hkeys("mailer:{limits}:filling")
    return sum(field.startswith(b"spoke:") for field in fields) == 2


async def until(true):
    async with asyncio.timeout(servers.PATIENCE):
        while not await true():
            await asyncio.sleep(0.02)


async def test_memories_of_limits_end(redis_server):
    limiter = RedisLimiter(Limits({"main": BackendRates(rates=("10/s", "10/d"))}), redis_server.url)
    began = time.monotonic()
    await eventually(limiter, 5)
    await limiter.slow_down("lane:main:gmail")
    client = limiter.filling.redis

    ends = {key.decode(): await client.pttl(key) / 1000 async for key in client.scan_iter("mailer:*")}
    near = 2 + time.monotonic() - began
    await limiter.close()

    assert ends["mailer:{limits}:backend:main"] == pytest.approx(DAY, abs=near)
    assert ends["mailer:{limits}:lane:main:gmail"] == pytest.approx(600, abs=near)
    assert ends.keys() - {"mailer:{limits}:filling", "mailer:{limits}:lasting"} == {
        "mailer:{limits}:backend:main", "mailer:{limits}:lane:main:gmail", "mailer:{limits}:slowed",
    }  # fmt: skip
    assert ends["mailer:{limits}:slowed"] == pytest.approx(300, abs=near)


# --- several processes ----------------------------------------------------------------------------


def test_four_processes_use_a_limit_to_the_full_and_never_exceed_it(redis_server):
    log, answered = grant_log(redis_server.url, seconds=3.0, rate=400)

    assert most_in_any_window(log, 1) <= 400
    pauses = (later - at - BURST_SECONDS for at, later in pairwise(answered))
    nobody_asked = sum(pause for pause in pauses if pause > 0)  # longer than a limit waits for somebody
    asked = log[-1][0] - log[0][0] - nobody_asked
    assert sum(granted for _, granted in log) >= 0.98 * 400 * asked
