"""``python -m bench NAME...`` measures what ``BENCHES`` names; ``all`` is all of it.

``BENCH_COUNT`` (100000), ``BENCH_WORKERS`` (200000), ``BENCH_RIVALS`` (10000), ``BENCH_ROUNDS`` (3),
``BENCH_GATEWAY`` (10000), ``BENCH_CALLS`` (200), ``BENCH_PROVIDERS`` (10000) and
``BENCH_SCALE`` (10000,100000,1000000) size the run; ``TMPDIR`` says on which disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    gateway,
    latency,
    limits,
    providers,
    report,
    requests,
    returns,
    roundtrip,
    scale,
    sends,
    steps,
    throughput,
    workers,
)

OUT = Path(__file__).resolve().parent / "out"


def _throughput() -> str:
    runs = throughput.measure(
        int(os.environ.get("BENCH_COUNT", "100000")),
        int(os.environ.get("BENCH_RIVALS", "10000")),
        int(os.environ.get("BENCH_ROUNDS", "3")),
    )
    rows = throughput.table(runs)
    report.plot(rows, OUT / "throughput.svg")
    return report.throughput(rows)


def _workers() -> str:
    count = int(os.environ.get("BENCH_WORKERS", "200000"))
    return report.throughput(workers.measure(count, int(os.environ.get("BENCH_RIVALS", "10000"))))


def _requests() -> str:
    return report.markdown(
        ("request", "messages/s", "p50", "p99", "server CPU per message"), requests.table()
    )


def _providers() -> str:
    heads = ("provider", "path", "messages", "messages/s", "µs CPU per message", "peak MB")
    count = int(os.environ.get("BENCH_PROVIDERS", "10000"))
    return report.markdown(heads, providers.table(providers.measure(count)))


def _scale() -> str:
    sizes = os.environ.get("BENCH_SCALE", "10000,100000,1000000").split(",")
    return report.scale(scale.steps(tuple(map(int, sizes))))


BENCHES: dict[str, Callable[[], str]] = {
    "throughput": _throughput,
    "workers": _workers,
    "gateway": lambda: report.steps(gateway.measure(int(os.environ.get("BENCH_GATEWAY", "10000")))),
    "latency": lambda: report.steps(latency.measure(int(os.environ.get("BENCH_CALLS", "200")))),
    "returns": lambda: report.steps(returns.measure()),
    "requests": _requests,
    "limits": lambda: f"{limits.takes()}\n{limits.four()}\n{limits.at_the_sink()} at the sink",
    "sends": lambda: report.steps(sends.measure()),
    "steps": lambda: report.steps(steps.measure()),
    "roundtrip": lambda: report.roundtrip(roundtrip.measure()),
    "providers": _providers,
    "scale": _scale,
}
USUAL = ("throughput", "workers", "gateway", "sends", "steps", "roundtrip")


def main() -> None:
    wanted = sys.argv[1:] or USUAL
    OUT.mkdir(exist_ok=True)
    print(report.machine())
    for name, bench in BENCHES.items():
        if name in wanted or "all" in wanted:
            print(bench(), flush=True)


main()
