"""``python -m bench [throughput|workers|gateway|latency|scale|steps|roundtrip|providers|all]``: measure.

``BENCH_COUNT`` (100000), ``BENCH_WORKERS`` (200000), ``BENCH_RIVALS`` (10000), ``BENCH_ROUNDS`` (3),
``BENCH_GATEWAY`` (10000), ``BENCH_CALLS`` (200) and ``BENCH_SCALE`` (10000,100000,1000000) size the run;
``TMPDIR`` says on which disk.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import gateway, latency, providers, report, roundtrip, scale, steps, throughput, workers

OUT = Path(__file__).resolve().parent / "out"


def main() -> None:
    wanted = set(sys.argv[1:]) or {"throughput", "workers", "gateway", "steps", "roundtrip"}
    every = "all" in wanted
    OUT.mkdir(exist_ok=True)
    print(report.machine())
    if every or "throughput" in wanted:
        runs = throughput.measure(
            int(os.environ.get("BENCH_COUNT", "100000")),
            int(os.environ.get("BENCH_RIVALS", "10000")),
            int(os.environ.get("BENCH_ROUNDS", "3")),
        )
        rows = throughput.table(runs)
        print(report.throughput(rows))
        report.plot(rows, OUT / "throughput.svg")
    if every or "workers" in wanted:
        count = int(os.environ.get("BENCH_WORKERS", "200000"))
        print(report.throughput(workers.measure(count, int(os.environ.get("BENCH_RIVALS", "10000")))))
    if every or "gateway" in wanted:
        print(report.steps(gateway.measure(int(os.environ.get("BENCH_GATEWAY", "10000")))))
    if every or "latency" in wanted:
        print(report.steps(latency.measure(int(os.environ.get("BENCH_CALLS", "200")))))
    if every or "steps" in wanted:
        print(report.steps(steps.measure()))
    if every or "roundtrip" in wanted:
        print(report.roundtrip(roundtrip.measure()))
    if every or "providers" in wanted:
        heads = ("provider", "path", "messages", "messages/s", "µs CPU per message", "peak MB")
        print(report.markdown(heads, providers.table(providers.measure())))
    if every or "scale" in wanted:
        sizes = tuple(int(n) for n in os.environ.get("BENCH_SCALE", "10000,100000,1000000").split(","))
        print(report.scale(scale.steps(sizes)))


main()
