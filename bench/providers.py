"""Providers' HTTP APIs at 50 ms: the backend alone with a plain mark, and whole campaigns over SQLite.

CPU per message says more than the rate where others use the machine, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import payload
from bench.processes import ROOT, mailer, run
from mailer.message import Accepted, Outgoing

MILLISECONDS = 50
#: URL of the provider, and how many messages are sent.
SINGLE = ("ses://AKIDEXAMPLE:secret-0123@?region=eu-west-1", "mailgun://key-012345@mg.acme.example")
BATCH = ("postmark://token-0123@", "resend://key-012345@")


@dataclass(frozen=True)
class Run:
    provider: str
    path: str
    sent: int
    rate: float
    cpu: float  # seconds of this process per message; 0 where nobody counted
    peak_mb: float


def measure(count: int = 10_000) -> list[Run]:
    """Single messages and batches, each alone and as a campaign; ten times as many for the memory."""
    many = 10 * count
    with api() as base:
        runs = [_alone(url, base, count) for url in SINGLE]
        for url in BATCH:
            runs += [_alone(url, base, count), _alone(url, base, many)]
        runs.append(_campaign(SINGLE[0], base, count))
        return [*runs, _campaign(BATCH[0], base, count), _campaign(BATCH[0], base, many)]


@contextlib.contextmanager
def api() -> Iterator[str]:
    """The base address of an API that takes everything."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "bench.provider_api", str(port), str(MILLISECONDS)]
    process = subprocess.Popen(argv, cwd=ROOT)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _url(url: str, base: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}base={base}"


def _alone(url: str, base: str, count: int) -> Run:
    """In a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "bench.providers", _url(url, base), str(count)]
        told = run(argv, Path(folder)).last_json()
    return Run(url.partition(":")[0], "backend alone", count, told["rate"], told["cpu"], told["peak_mb"])


def _campaign(url: str, base: str, count: int) -> Run:
    from bench.senders import steady

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        payload.write(folder, count)
        where = ("--ledger", f"sqlite:///{folder / 'bench.db'}", "--backend", _url(url, base))
        done = run(mailer("send", "campaign.toml", "--yes", "--json", *where), folder)
        if done.last_json()["counts"]["accepted"] != count:
            raise SystemExit(f"not all were accepted: {done.last_json()}")
        seconds = steady(folder / "bench.db")
    return Run(url.partition(":")[0], "`mailer send`", count, count / seconds, 0.0, done.peak_mb)


async def _send(url: str, count: int) -> dict[str, float]:
    """As the engine does: twice as many workers as calls at once, each with one call under way."""
    from mailer.backends import connect, default_connections, urls

    config = urls.parse("main", url)
    calls = default_connections(config) or 10
    backend = connect(urls.parse("main", url, connections=calls))
    size = backend.limits.batch if backend.limits.batched else 1
    compose = _composer()
    places = iter(range(0, count, size))
    cpu = 0.0

    async def yes(_: Outgoing) -> bool:
        return True

    async def work() -> None:
        nonlocal cpu
        for place in places:
            began = time.process_time()
            batch = [compose(number) for number in range(place, min(place + size, count))]
            cpu -= time.process_time() - began
            outcomes = await backend.send(batch, yes)
            if not all(isinstance(outcome, Accepted) for outcome in outcomes):
                raise SystemExit(f"not accepted: {outcomes[0]}")

    await backend.send([compose(0)], yes)
    cpu -= time.process_time()
    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(2 * calls)))
    seconds = time.perf_counter() - started
    cpu += time.process_time()
    await backend.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rate": count / seconds, "cpu": cpu / count, "peak_mb": peak}


def _composer() -> Callable[[int], Outgoing]:
    """Message by its number, rendered and spliced as in a campaign."""
    from mailer.content.composer import compile_mail
    from mailer.content.contract import Identity, MailSpec
    from mailer.content.packages import load

    with tempfile.TemporaryDirectory() as name:
        payload.write(Path(name), 1)
        package = load(Path(name) / "templates", "newsletter")
        spec = MailSpec(sender=payload.SENDER, subject=payload.SUBJECT)
        composer = compile_mail(package, spec, files_root=None)
    people = list(payload.rows(8))

    def compose(number: int) -> Outgoing:
        identity = f"<{number}.1@acme.example>"
        to = f"user{number}@example.com"
        made = composer.compose(people[number % 8], to, Identity(identity, 1_700_000_000.0, identity))
        return Outgoing(
            number, 1, made.sender, made.recipients, made.content, identity, idempotency_key=str(number)
        )

    return compose


def table(runs: list[Run]) -> list[tuple[str, ...]]:
    """Rows for ``report.markdown``."""
    return [
        (one.provider, one.path, f"{one.sent:,}", f"{one.rate:,.0f}",
         f"{one.cpu * 1e6:.0f}" if one.cpu else "", f"{one.peak_mb:.0f}")
        for one in runs
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_send(sys.argv[1], int(sys.argv[2])))))
