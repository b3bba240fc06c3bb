"""What it costs an application to hand over a message: proved at the door, and durable when it returns.

CPU is that of the application's process, with the thread that publishes hints; beside other work it says more
than rates do.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailer import Mailer, Message
from tests.servers import redis_server

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
DATA = {
    "name": "Ann",
    "order_number": "A-1042",
    "items": [{"title": "Notebook", "quantity": 2, "price": "19.80"}],
    "total": "19.80",
    "currency": "EUR",
    "paid_with": "Visa",
    "order_url": "https://acme.example/orders/A-1042",
}


LOTS = 10


def measure() -> list[tuple[str, str]]:
    """(step, what was measured) for single calls, threads and lots, on both databases. Hints go to Redis."""
    found = []
    with redis_server() as broker:
        for name, ledger in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
            with ledger() as url, _mailer(url, broker.url) as mailer:
                found += [(f"{step}, {name}", said) for step, said in _steps(mailer)]
    return found


def _steps(mailer: Mailer) -> Iterator[tuple[str, str]]:
    for _ in range(20):
        _send(mailer)
    begun = time.process_time()
    times = sorted(_timed(mailer) for _ in range(300))
    cpu = (time.process_time() - begun) / len(times)
    middle, worst = statistics.median(times), times[int(len(times) * 0.99)]
    said = f"median {middle * 1e3:.2f} ms, p99 {worst * 1e3:.2f} ms"
    yield "`Mailer.send` (target ≤ 5 ms)", f"{said}, {cpu * 1e6:.0f} µs CPU"
    rate, cpu = _threads(mailer, 8, 200)
    yield (
        "`Mailer.send`, 8 threads (target ≥ 1,000 calls/s)",
        f"{rate:,.0f} calls/s, {cpu * 1e6:.0f} µs CPU each",
    )
    rate, cpu = _many(mailer)
    yield (
        "`send_many`, 1,000 messages at once (target ≥ 20,000/s)",
        f"{rate:,.0f} messages/s, {cpu * 1e6:.0f} µs CPU each",
    )


def _many(mailer: Mailer) -> tuple[float, float]:
    """Messages/s and seconds of CPU per message, of the middle one of some lots."""
    found = []
    for lot in range(LOTS):
        messages = [Message("receipt", f"user{lot}x{n}@example.org", _data(n)) for n in range(1000)]
        begun, cpu = time.perf_counter(), time.process_time()
        mailer.send_many(messages)
        found.append((time.perf_counter() - begun, time.process_time() - cpu))
    seconds, cpu = sorted(found)[len(found) // 2]
    return 1000 / seconds, cpu / 1000


def _send(mailer: Mailer) -> None:
    mailer.send("receipt", to="ann@example.org", data=DATA)


def _data(number: int) -> dict[str, object]:
    """No two messages say the same."""
    return {**DATA, "name": f"Ann {number}", "order_number": f"A-{number}"}


def _timed(mailer: Mailer) -> float:
    started = time.perf_counter()
    _send(mailer)
    return time.perf_counter() - started


def _threads(mailer: Mailer, threads: int, calls: int) -> tuple[float, float]:
    """Calls/s, and seconds of CPU per call."""

    def work() -> None:
        for _ in range(calls):
            _send(mailer)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    started, cpu = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done = threads * calls
    return done / (time.perf_counter() - started), (time.process_time() - cpu) / done


@contextmanager
def _mailer(ledger: str, broker: str) -> Iterator[Mailer]:
    """Workers that are not there: only the handing over is measured."""
    with Mailer(ledger=ledger, broker=broker, backend="memory://bench", templates=str(TEMPLATES)) as mailer:
        yield mailer


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/mailer.db"


@contextmanager
def _postgresql() -> Iterator[str]:
    from tests.ledgers import postgres_database

    with postgres_database() as url:
        yield url
