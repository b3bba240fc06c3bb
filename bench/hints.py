"""What hints cost: memory in Redis per queued id, and a look of the pump at a large campaign."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time

from bench.ledgers import campaign
from mailer.delivery.contract import Hint
from mailer.delivery.pump import Pump
from mailer.ledger import migrate, open_ledger
from mailer.ledger.contract import Runner, row_id
from mailer.ledger.writer import GroupCommit
from mailer.publisher import Publisher
from tests.servers import redis_server

TICKS = 20


def measure(rows: int = 1_000_000) -> list[tuple[str, str]]:
    """(step, what was measured)."""
    with redis_server() as server:
        large, small = (_bytes_per_id(server.url, per, 100 * per) for per in (200, 1))
    with tempfile.TemporaryDirectory() as folder:
        ticks = asyncio.run(_ticks(f"sqlite:///{folder}/bench.db", rows))
    return [
        ("Redis memory per queued id (target ≤ 50 bytes at 200 per hint)", f"{large:.0f}; at 1: {small:.0f}"),
        (
            f"pump tick that hints 1,600 of {rows:,} pending, SQLite (target ≤ 50 ms)",
            f"median {statistics.median(ticks) * 1000:.1f} ms, most {max(ticks) * 1000:.1f} ms",
        ),
    ]


def _bytes_per_id(url: str, per: int, ids: int) -> float:
    from redis import Redis

    redis, publisher = Redis.from_url(url), Publisher(url)
    redis.flushall()
    publisher.publish([row_id(1, 1)])  # what the connection and the queue cost by themselves
    before = int(redis.info("memory")["used_memory"])
    for at in range(0, ids, per):
        publisher.publish([row_id(1, 1_000_000 + at + one) for one in range(per)])
    used = int(redis.info("memory")["used_memory"]) - before
    publisher.close()
    redis.close()
    return used / ids


class _Taken:
    """A dispatcher whose hints are worked off between two ticks."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []

    def free(self, stream: str = "bulk") -> int:
        return 1600 - len(self.outstanding())

    def outstanding(self) -> frozenset[int]:
        return frozenset(id_ for hint in self.hints for id_ in hint.ids)

    async def dispatch(self, hint: Hint) -> None:
        self.hints.append(hint)

    async def drain(self, seconds: float) -> bool:
        return True

    async def close(self) -> None:
        pass


async def _ticks(url: str, rows: int) -> list[float]:
    migrate(url)
    ledger = open_ledger(url)
    campaign(ledger, rows)
    writer, dispatcher = GroupCommit(ledger), _Taken()
    pump = Pump(writer, dispatcher, runner=Runner.EMBEDDED, worker="bench")
    ticks = []
    for _ in range(TICKS):
        began = time.perf_counter()
        await pump.tick()
        ticks.append(time.perf_counter() - began)
        if len(dispatcher.outstanding()) != 1600:
            raise SystemExit(f"{len(dispatcher.outstanding())} hinted, 1600 meant")
        ids = sorted(dispatcher.outstanding())
        await writer.claim(ids, "bench", 600)
        dispatcher.hints.clear()
    await pump.close()
    await writer.close()
    return ticks
