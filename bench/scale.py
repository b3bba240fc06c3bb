"""What a million rows cost: time per recipient, memory, and how fast each step is."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import payload
from bench.processes import Finished, mailer, run, sink
from bench.senders import ours


def steps(counts: tuple[int, ...]) -> list[tuple[str, int, float, float]]:
    """(step, recipients, seconds, peak MB) of ``check``, ``send`` and ``results`` at each size."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            payload.write(Path(name), count)
            found += [(step, count, seconds, peak) for step, seconds, peak in _steps(Path(name), count)]
    return found


def _steps(folder: Path, count: int) -> Iterator[tuple[str, float, float]]:
    ledger = ("--ledger", f"sqlite:///{folder / 'bench.db'}")
    checked = run(mailer("check", "campaign.toml", "--json", "--backend", "memory://bench", *ledger), folder)
    yield "check", checked.seconds, checked.peak_mb
    with sink() as server:
        sent = ours(1)(server, folder, count)
    yield "send, whole command", sent.whole, sent.peak_mb
    yield "send, first claim to last settle", sent.seconds, sent.peak_mb
    exported = run(mailer("results", "bench", "--output", "results.csv", *ledger), folder)
    yield "results", exported.seconds, exported.peak_mb
    status = median_of(lambda: run(mailer("status", "bench", "--json", *ledger), folder), 3)
    yield "status, whole command", status.seconds, status.peak_mb
    yield "status, query", status_query(folder), 0.0


def median_of(action: Callable[[], Finished], times: int) -> Finished:
    """The middle one of several runs, by time."""
    return sorted((action() for _ in range(times)), key=lambda done: done.seconds)[times // 2]


def status_query(folder: Path) -> float:
    """Seconds that the ledger takes for the counts of one campaign, warm, median of 20."""
    from mailer.ledger import open_ledger

    ledger = open_ledger(f"sqlite:///{folder / 'bench.db'}")
    campaign = ledger.campaigns.list()[-1]
    times = []
    for _ in range(20):
        started = time.perf_counter()
        ledger.campaigns.counts(campaign.id)
        times.append(time.perf_counter() - started)
    ledger.close()
    return statistics.median(times)


def opening(count: int) -> float:
    """Rows per second into an empty SQLite ledger, rows only."""
    from mailer.ledger import open_ledger
    from mailer.ledger.contract import NewCampaign, NewRow

    with tempfile.TemporaryDirectory() as name:
        ledger = open_ledger(f"sqlite:///{Path(name) / 'bench.db'}")
        campaign = ledger.campaigns.create(NewCampaign(slug="bench-0000", name="Bench", digest="0", spec={}))
        cells = '{"email": "user@example.com", "first_name": "Ada", "plan": "pro", "points": "12"}'
        rows = [
            NewRow(ordinal=n, line=n + 1, address=f"user{n}@example.com", lane="example.com", cells=cells)
            for n in range(1, count + 1)
        ]
        started = time.perf_counter()
        ledger.campaigns.add_rows(campaign.id, rows)
        return count / (time.perf_counter() - started)
