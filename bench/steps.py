"""Single steps, each against its target."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import hints, ledgers, limits, payload, scale
from bench.processes import mailer, run


def measure() -> list[tuple[str, str]]:
    """(step, what was measured) for help, check, compose and opening."""
    return [
        ("`mailer --help` (target < 0.4 s)", f"{_help():.2f} s, of which bare Python {_python():.2f} s"),
        ("compose and encode one message (text and HTML, 4 kB)", f"{_compose() * 1e6:.0f} µs"),
        ("`check` with strict render, whole command (target ≥ 5,000 rows/s per core)", _check(20_000)),
        ("limits in Redis, 3 keys with 4 windows", limits.takes()),
        (
            "a limit of 200/s in Redis, 4 processes (target ≥ 196/s, never above 200 in a second)",
            limits.four(),
        ),
        ("open a campaign, rows only (target ≥ 100,000 rows/s)", f"{scale.opening(200_000):,.0f} rows/s"),
        *ledgers.measure(),
        *hints.measure(),
    ]


def _timed(argv: list[str]) -> float:
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _help() -> float:
    return _timed(mailer("--help"))


def _python() -> float:
    return _timed([sys.executable, "-c", "pass"])


def _check(count: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = []
        for size in (count // 10, count):
            payload.write(folder, size)
            done = run(
                mailer("check", "campaign.toml", "--json", "--ledger", f"sqlite:///{folder / 'b.db'}",
                       "--backend", "memory://bench"),
                folder,
            )  # fmt: skip
            rates.append((size, done.seconds))
        (small, short), (large, long) = rates
        return f"{large / long:,.0f} rows/s, without start-up {(large - small) / (long - short):,.0f} rows/s"


def _compose() -> float:
    from mailer.content.composer import compile_mail
    from mailer.content.contract import Identity, MailSpec
    from mailer.content.packages import load

    with tempfile.TemporaryDirectory() as name:
        payload.write(Path(name), 1)
        package = load(Path(name) / "templates", "newsletter")
        composer = compile_mail(
            package, MailSpec(sender=payload.SENDER, subject=payload.SUBJECT), files_root=None
        )
    people = list(enumerate(payload.rows(2700)))
    times = []
    for at in range(0, len(people), 300):
        started = time.perf_counter()
        for number, cells in people[at : at + 300]:
            identity = Identity(f"<1.{number}@acme.example>", 1_700_000_000.0, f"seed-{number}")
            len(composer.compose(cells, f"user{number}@example.com", identity).data)  # encoded, too
        times.append((time.perf_counter() - started) / 300)
    return statistics.median(times)
