"""From the call in an application to the message at the server: idle, beside a campaign, and as others do."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import payload
from bench.processes import ROOT, mailer, run, sink
from mailer import Mailer
from mailer.ledger import migrate
from tests.servers import free_port, postgres_server, redis_server

SECONDS_BETWEEN = 0.05
#: So that the campaign is still running when the last call is made.
BULK = 40_000


def measure(count: int) -> list[tuple[str, str]]:
    """(what, median and p99) of ``count`` calls each, over Redis and PostgreSQL."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(redis_server()).url
        server = stack.enter_context(postgres_server(durable=True))
        ledger = server.create("latency")
        port, notes, bulk = free_port(), folder / "arrivals", stack.enter_context(sink())
        stack.enter_context(process(python("bench.arrivals", str(port), str(notes)), folder))
        _settings(folder, broker, ledger, port, bulk.port)
        stack.enter_context(process(mailer("worker", "--queues", "transactional"), folder))
        application = stack.enter_context(
            Mailer(ledger=ledger, broker=broker, backend=f"smtp://127.0.0.1:{port}?tls=none")
        )
        found = [("`Mailer.send`, idle", _spread(sender(application), notes, "idle", count))]
        run(mailer("enqueue", "campaign.toml", "--yes"), folder)
        with process(["nice", "-n", "10", *mailer("worker", "--queues", "bulk", "--processes", "2")], folder):
            until(lambda: bulk.count() > 0)
            said = _spread(sender(application), notes, "busy", count)
            done = bulk.count()
        found.append((f"`Mailer.send` beside a campaign ({done:,} of {BULK:,} sent by then)", said))
        os.environ |= {"RIVAL_BROKER": broker, "RIVAL_PORT": str(port)}
        os.environ["RIVAL_DATABASE"] = server.create("rival")
        return [
            *found,
            ("Celery task with smtplib, idle", _celery(folder, notes, count)),
            ("django-post-office with Celery, idle", _post_office(folder, notes, count)),
        ]


def _settings(folder: Path, broker: str, ledger: str, port: int, bulk: int) -> None:
    payload.write(folder, BULK)
    spec = folder / "campaign.toml"
    spec.write_text(spec.read_text().replace('stream = "transactional"', 'stream = "bulk"'))
    (folder / "mailer.toml").write_text(
        f'ledger = "{ledger}"\nbroker = "{broker}"\n'
        f'[backends.sink]\nurl = "smtp://127.0.0.1:{bulk}?tls=none"\n'
        f'[backends.app]\nurl = "smtp://127.0.0.1:{port}?tls=none"\n'
    )
    migrate(ledger)


def sender(application: Mailer) -> Callable[[str], object]:
    return lambda subject: application.send(
        to="ann@example.org", sender="a@acme.example", subject=subject, text="Hello"
    )


def _celery(folder: Path, notes: Path, count: int) -> str:
    from bench.rivals.celery_smtplib import send

    with process(_worker("celery_smtplib"), folder):
        return _spread(lambda subject: send.delay("ann@example.org", subject, "Hello"), notes, "rival", count)


def _post_office(folder: Path, notes: Path, count: int) -> str:
    from bench.rivals.post_office_celery import migrate, send

    migrate()
    with process(_worker("post_office_celery"), folder):
        return _spread(lambda subject: send("ann@example.org", subject, "Hello"), notes, "office", count)


def _worker(rival: str) -> list[str]:
    return python("celery", "-A", f"bench.rivals.{rival}", "worker", "--pool", "threads", "-c", "4")


def _spread(send: Callable[[str], object], notes: Path, name: str, count: int) -> str:
    """The first calls open connections and are not counted."""
    called = {}
    for number in range(count + 10):
        called[subject := f"{name}-{number}"] = time.monotonic()
        send(subject)
        if number < 10:
            until(partial(_is_there, subject, notes))
        time.sleep(SECONDS_BETWEEN)
    until(lambda: called.keys() <= arrived_at(notes).keys())
    arrived = arrived_at(notes)
    times = sorted(arrived[subject] - called[subject] for subject in list(called)[10:])
    return f"median {statistics.median(times) * 1e3:.0f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:.0f} ms"


def _is_there(subject: str, notes: Path) -> bool:
    return subject in arrived_at(notes)


def arrived_at(notes: Path) -> dict[str, float]:
    lines = [line.split() for line in notes.read_text().splitlines()]
    return {line[0]: float(line[1]) for line in lines if len(line) == 2}


def until(true: Callable[[], bool], seconds: float = 90.0) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up:
            raise SystemExit("the bench waited in vain: is the worker running?")
        time.sleep(0.02)


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


@contextlib.contextmanager
def process(argv: list[str], folder: Path) -> Iterator[None]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(argv, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
