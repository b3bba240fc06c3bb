"""From the broker's return to the message at the mail server, for what was handed over while it was away."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.latency import arrived_at, process, python, sender, until
from bench.processes import mailer
from mailer import Mailer
from mailer.ledger import migrate
from tests.rabbit import rabbit_server
from tests.servers import free_port, need, redis_server

#: Long enough that every process has noticed, and has given up its connections, which nobody lends it now.
AWAY_SECONDS = 8.0
#: Between two, so that limits are copied and every process rests.
QUIET_SECONDS = 2.0


@dataclass(frozen=True)
class Outage:
    """How a broker goes, and how it comes back."""

    name: str
    broker: Callable[[], AbstractContextManager[Any]]
    begin: Callable[[Any], object]
    end: Callable[[Any], object] = lambda broker: broker.start()


def _save_and_kill(broker: Any) -> None:
    subprocess.run([need("redis-cli"), "-p", str(broker.port), "save"], check=True, capture_output=True)
    broker.process.kill()


OUTAGES = (
    Outage("Redis hangs", redis_server, lambda b: b.process.pause(), lambda b: b.process.go_on()),
    Outage("Redis is away and returns with its data", redis_server, _save_and_kill),
    Outage("Redis is away and returns empty", redis_server, lambda b: b.process.kill()),
    Outage("RabbitMQ is away", rabbit_server, lambda b: b.process.kill()),
)


def measure(rounds: int = 5) -> list[tuple[str, str]]:
    """(outage, how long the calls took, and how soon mail left after so many returns each)."""
    return [(outage.name, _spread(outage, rounds)) for outage in OUTAGES]


def _spread(outage: Outage, rounds: int) -> str:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(outage.broker())
        port, notes, ledger = free_port(), folder / "arrivals", f"sqlite:///{folder}/bench.db"
        backend = f"smtp://127.0.0.1:{port}?tls=none"
        stack.enter_context(process(python("bench.arrivals", str(port), str(notes)), folder))
        (folder / "mailer.toml").write_text(
            f'ledger = "{ledger}"\nbroker = "{broker.url}"\n[backends.main]\nurl = "{backend}"\n'
        )
        migrate(ledger)
        stack.enter_context(process(mailer("worker"), folder))
        stack.enter_context(contextlib.chdir(folder))  # one mailer.toml for both
        application = stack.enter_context(Mailer())
        send = sender(application)
        send("first")
        until(lambda: notes.exists() and "first" in arrived_at(notes))
        found = [_once(outage, broker, send, notes, f"away-{number}") for number in range(rounds)]
    calls, waits = zip(*found, strict=True)
    return (
        f"call {statistics.median(calls) * 1e3:.0f} ms;"
        f" mail after {statistics.median(waits):.2f} s, {max(waits):.2f} s at most"
    )


def _once(
    outage: Outage, broker: Any, send: Callable[[str], object], notes: Path, subject: str
) -> tuple[float, float]:
    """Seconds that the call took, and from the return to the arrival."""
    time.sleep(QUIET_SECONDS)
    outage.begin(broker)
    time.sleep(AWAY_SECONDS / 2)
    called = time.monotonic()
    send(subject)
    took = time.monotonic() - called
    time.sleep(AWAY_SECONDS / 2)
    if subject in arrived_at(notes):
        raise SystemExit(f"{outage.name}: the message did not wait for the broker")
    outage.end(broker)
    returned = time.monotonic()
    until(lambda: subject in arrived_at(notes))
    return took, arrived_at(notes)[subject] - returned
