"""Limits in the ledger: shared by all processes over it, remembered by the next run."""

import asyncio

import pytest

from mailer.delivery.limits.ledger import LedgerLimiter
from mailer.delivery.limits.plan import BackendRates, Limits
from mailer.ledger import open_ledger
from mailer.ledger.writer import GroupCommit
from tests.unit.limits.windows_seen import most_in_any_window

KEYS = ("backend:main",)


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Process:
    """What one process has of the limits: its own connections, its own limiter, the same file."""

    def __init__(self, folder, clock, *rates):
        self.log = []
        self.ledger = open_ledger(f"sqlite:///{folder}/mailer.db", clock=clock)
        self.writer = GroupCommit(self.ledger)
        self.limits = Limits({"main": BackendRates(rates=rates)})
        self.limiter = LedgerLimiter(
            self.limits,
            self.writer,
            patience=0.0,
            grant_log=lambda key, granted, at: self.log.append((at, granted)),
        )

    async def close(self):
        await self.writer.close()
        self.ledger.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def process(tmp_path, clock):
    """``process("20/s")`` starts one more over the same ledger."""
    started = []

    def start(*rates):
        started.append(Process(tmp_path, clock, *rates))
        return started[-1]

    yield start
    for one in started:
        await one.close()


async def test_two_processes_share_one_limit(process, clock):
    one, two = process("50/s", "500/h"), process("50/s", "500/h")
    for _ in range(1200):
        await asyncio.gather(one.limiter.take(KEYS, 7), two.limiter.take(KEYS, 7))
        clock.now += 0.01

    together = sorted(one.log + two.log)
    assert sum(granted for _, granted in together) == 500
    assert one.log
    assert two.log
    assert most_in_any_window(together, 1) <= 50


@pytest.mark.parametrize("rate", ["500/h", "500/d", "500/min"])
async def test_the_next_run_remembers_what_went_out_in_this_one(process, rate):
    first = process(rate)
    granted = (await first.limiter.take(KEYS, 400)).granted
    await first.close()

    again = process(rate)
    room = await again.limiter.available(KEYS)
    assert room.granted <= 500 - granted


async def test_a_lane_that_was_slowed_down_stays_slow_in_the_next_run(process, clock):
    first = process("100/s")
    await first.limiter.slow_down("backend:main")
    await first.close()

    again = process("100/s")
    for _ in range(1000):
        await again.limiter.take(KEYS, 100)
        clock.now += 0.01
    assert sum(granted for _, granted in again.log) == pytest.approx(500, rel=0.1)


async def test_callers_that_come_together_cost_one_transaction(process, monkeypatch):
    one = process("1000/h")
    calls = []
    exchange = one.ledger.buckets.exchange
    monkeypatch.setattr(one.ledger.buckets, "exchange", lambda *args: (calls.append(1), exchange(*args))[1])

    grants = await asyncio.gather(*(one.limiter.take(KEYS, 1) for _ in range(200)))

    assert sum(grant.granted for grant in grants) == 200
    assert len(calls) <= 3
