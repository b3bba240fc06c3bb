"""What it costs an application to hand over a message: rendered at the door, and durable when it returns."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailer import Mailer, Message

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


def measure() -> list[tuple[str, str]]:
    """(step, what was measured) for single calls, threads and lots, on both databases."""
    found = []
    for name, ledger in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
        with ledger() as url, _mailer(url) as mailer:
            found += [(f"{step}, {name}", said) for step, said in _steps(mailer)]
    return found


def _steps(mailer: Mailer) -> Iterator[tuple[str, str]]:
    for _ in range(20):
        _send(mailer)
    times = sorted(_timed(mailer) for _ in range(300))
    middle, worst = statistics.median(times), times[int(len(times) * 0.99)]
    yield "`Mailer.send` (target ≤ 5 ms)", f"median {middle * 1e3:.2f} ms, p99 {worst * 1e3:.2f} ms"
    yield "`Mailer.send`, 8 threads (target ≥ 1,000 calls/s)", f"{_threads(mailer, 8, 100):,.0f} calls/s"
    lot = [Message("receipt", f"user{n}@example.org", _data(n)) for n in range(1000)]
    started = time.perf_counter()
    mailer.send_many(lot)
    rate = len(lot) / (time.perf_counter() - started)
    yield "`send_many`, 1,000 messages at once (target ≥ 20,000/s)", f"{rate:,.0f} messages/s"


def _send(mailer: Mailer) -> None:
    mailer.send("receipt", to="ann@example.org", data=DATA)


def _data(number: int) -> dict[str, object]:
    """No two messages say the same."""
    return DATA | {"name": f"Ann {number}", "order_number": f"A-{number}"}


def _timed(mailer: Mailer) -> float:
    started = time.perf_counter()
    _send(mailer)
    return time.perf_counter() - started


def _threads(mailer: Mailer, threads: int, calls: int) -> float:
    def work() -> None:
        for _ in range(calls):
            _send(mailer)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * calls / (time.perf_counter() - started)


@contextmanager
def _mailer(ledger: str) -> Iterator[Mailer]:
    """Workers that are not there: only the handing over is measured."""
    settings = {"ledger": ledger, "backend": "memory://bench", "templates": str(TEMPLATES)}
    with Mailer(deliver="workers", **settings) as mailer:
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
