"""What a million rows cost: time per recipient, memory, and how fast each step is."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench import payload
from bench.processes import Finished, mailer, run, sink
from bench.senders import ours


def steps(counts: tuple[int, ...]) -> list[tuple[str, int, float, float]]:
    """(step, recipients, seconds, peak MB) of ``check``, ``send`` and ``results`` at each size."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            payload.write(folder, count)
            options = ("--ledger", f"sqlite:///{folder / 'bench.db'}", "--backend", "memory://bench")
            checked = run(mailer("check", "campaign.toml", "--json", *options), folder)
            found.append(("check", count, checked.seconds, checked.peak_mb))
            with sink() as server:
                sent = ours(1)(server, folder, count)
            found.append(("send, whole command", count, sent.whole, sent.peak_mb))
            found.append(("send, first claim to last settle", count, sent.seconds, sent.peak_mb))
            exported = run(
                mailer("results", "bench", "--output", "results.csv", *options[:2]), folder, allow=(0, 1)
            )
            found.append(("results", count, exported.seconds, exported.peak_mb))
            status = median_of(lambda: run(mailer("status", "bench", "--json", *options[:2]), folder), 3)
            found.append(("status, whole command", count, status.seconds, status.peak_mb))
            found.append(("status, query", count, status_query(folder), 0.0))
    return found


def median_of(action, times: int) -> Finished:
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
