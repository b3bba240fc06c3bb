"""Who sends how fast to the same sink, alternating in one run; counts must agree at both ends."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import payload
from bench.processes import Sink, sink
from bench.senders import Run, available

#: The reference that ratios are taken against.
REFERENCE = "Nodemailer, pool of 10"


def measure(count: int, rival_count: int, rounds: int) -> dict[str, list[Run]]:
    """``rounds`` times every sender in turn; ours with ``count`` recipients, the others with fewer."""
    runs: dict[str, list[Run]] = {name: [] for name in available()}
    with tempfile.TemporaryDirectory() as folder:
        for size in {count, rival_count}:
            (Path(folder) / str(size)).mkdir()
            payload.write(Path(folder) / str(size), size)
        for number in range(rounds):
            for name, send in available().items():
                size = count if name.startswith("mailer") else rival_count
                runs[name].append(_one(name, send, Path(folder) / str(size), size))
                print(f"  round {number + 1}: {name}: {runs[name][-1].rate:,.0f}/s", file=sys.stderr)
    return runs


def _one(name: str, send: Callable[[Sink, Path, int], Run], folder: Path, count: int) -> Run:
    with sink() as server:
        run = send(server, folder, count)
        arrived = server.count()
    if arrived != count or run.sent != count:
        raise SystemExit(f"{name}: {run.sent} sent, {arrived} arrived, {count} meant")
    return run


def table(runs: dict[str, list[Run]]) -> list[tuple[str, float, float, float]]:
    """(name, messages/s, ratio to the reference, peak MB), medians, fastest first."""
    rows = [
        (name, statistics.median(run.rate for run in done), statistics.median(run.peak_mb for run in done))
        for name, done in runs.items()
    ]
    rows += [
        (f"{name}, whole command", statistics.median(run.whole_rate for run in done), 0.0)
        for name, done in runs.items()
        if name.startswith("mailer")
    ]
    reference = next((rate for name, rate, _ in rows if name == REFERENCE), rows[0][1])
    return sorted(
        ((name, rate, rate / reference, peak) for name, rate, peak in rows), key=lambda row: -row[1]
    )
