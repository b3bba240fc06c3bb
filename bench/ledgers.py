"""What the ledger alone can do, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mailer.ledger import open_ledger
from mailer.ledger.contract import NewCampaign, NewRow, Settlement
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit
from mailer.message import State

#: Messages whose marks and settlements may be under way at once, as many as a worker's connections allow.
AT_ONCE = 50
SLICE = 200


def measure(rows: int = 40_000, writers: int = 2) -> list[tuple[str, str]]:
    """(step, what was measured) for each database that is there."""
    with ExitStack() as stack:
        urls = {"SQLite": f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/bench.db"}
        if postgres := stack.enter_context(_postgres()):
            urls["PostgreSQL"] = postgres
        return [line for name, url in urls.items() for line in _one(name, url, rows, writers)]


def _one(name: str, url: str, rows: int, writers: int) -> Iterator[tuple[str, str]]:
    opened = open_ledger(url)
    began = time.perf_counter()
    made = campaign(opened, rows * (writers + 1))
    yield f"{name}: open rows", f"{rows * (writers + 1) / (time.perf_counter() - began):,.0f} rows/s"
    ids = opened.schedule.due(made, None, rows * (writers + 1))
    opened.close()
    seconds, claims = _work(url, ids[:rows])
    yield f"{name}: claim {SLICE}, one by one", f"{claims * 1000:.1f} ms"
    yield f"{name}: claim, mark, settle, one process", f"{rows / seconds:,.0f} messages/s"
    began, each = time.perf_counter(), [ids[rows * n : rows * (n + 1)] for n in range(1, writers + 1)]
    slowest = max(_in_processes(url, each))
    yield f"{name}: claim, mark, settle, {writers} processes", f"{writers * rows / slowest:,.0f} messages/s"


def campaign(ledger: Ledger, rows: int) -> int:
    campaign = ledger.campaigns.create(NewCampaign("bench", "bench", "bench", {}))
    cells = json.dumps({"email": "person@example.com", "first_name": "Ann", "city": "London", "plan": "pro"})
    ledger.campaigns.add_rows(
        campaign.id, (NewRow(n, n + 1, f"person-{n}@example.com", "other", cells) for n in range(1, rows + 1))
    )
    return ledger.campaigns.opened(campaign.id, 0).id


def _work(url: str, ids: list[int]) -> tuple[float, float]:
    """Seconds for all, and per claim on an idle ledger."""
    return asyncio.run(_through(url, ids))


async def _through(url: str, ids: list[int]) -> tuple[float, float]:
    writer = GroupCommit(open_ledger(url))
    began = time.perf_counter()
    slices = [await writer.claim(ids[at : at + SLICE], "bench", 600) for at in range(0, len(ids), SLICE)]
    claims = (time.perf_counter() - began) / len(slices)
    began = time.perf_counter()
    work = iter([(row.id, one.fence) for one in slices for row in one.rows])

    async def lane() -> None:
        for id_, fence in work:
            if await writer.mark(id_, fence):
                writer.settle_soon(
                    Settlement(id_, fence, State.ACCEPTED, code=250, reply="2.0.0 Ok: queued", backend="main")
                )

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    await writer.close()
    return time.perf_counter() - began + claims * len(slices), claims


def _in_processes(url: str, ids: list[list[int]]) -> list[float]:
    program = (
        "import json, sys; from bench.ledgers import _work\n"
        "url, ids = json.load(sys.stdin); print(_work(url, ids)[0])"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in ids
    ]
    for process, own in zip(started, ids, strict=True):
        assert process.stdin is not None
        json.dump((url, own), process.stdin)
        process.stdin.close()
    answers = [process.stdout.read() if process.stdout else "" for process in started]
    for process in started:
        process.wait()
    return [float(answer) for answer in answers]


@contextmanager
def _postgres() -> Iterator[str | None]:
    """One of its own, on disk and with flushes; None where it is not installed."""
    from tests.servers import postgres_server

    try:
        with postgres_server(durable=True) as server:
            yield server.create("bench")
    except BaseException as missing:
        if type(missing).__name__ != "Skipped":
            raise
        yield None
