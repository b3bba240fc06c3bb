"""The same campaign through real Celery workers: over every broker and ledger, beside Nodemailer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import payload
from bench.processes import ROOT, Sink, mailer, run, sink
from bench.senders import available
from bench.throughput import REFERENCE
from mailer.ledger import migrate, open_ledger
from mailer.ledger.contract import CampaignState
from mailer.message import State
from tests.rabbit import rabbit_server
from tests.servers import postgres_server, redis_server


@dataclass(frozen=True)
class Setting:
    """What one row of the table runs on."""

    name: str
    broker: str
    ledger: str
    processes: int = 2
    recipients_per_task: int = 200


SETTINGS = (
    Setting("Redis, SQLite, 2 processes", "redis", "sqlite"),
    Setting("Redis, SQLite, 1 process", "redis", "sqlite", processes=1),
    Setting("Redis, PostgreSQL, 2 processes", "redis", "postgresql"),
    Setting("Redis, PostgreSQL, 1 process", "redis", "postgresql", processes=1),
    Setting("RabbitMQ, SQLite, 2 processes", "rabbitmq", "sqlite"),
    Setting("Redis, SQLite, 2 processes, one recipient per task", "redis", "sqlite", recipients_per_task=1),
)


def measure(count: int, rival_count: int) -> list[tuple[str, float, float, float]]:
    """(setting, messages/s from first to last acceptance, ratio to Nodemailer, peak MB of a worker).

    Every setting runs right after Nodemailer, and is compared with that run of it.
    """
    found = []
    with contextlib.ExitStack() as stack:
        brokers = {
            "redis": stack.enter_context(redis_server()).url,
            "rabbitmq": stack.enter_context(rabbit_server()).url,
        }
        postgres = stack.enter_context(postgres_server(durable=True))
        for number, setting in enumerate(SETTINGS):
            rows = count if setting.recipients_per_task > 1 else min(count, rival_count)
            with tempfile.TemporaryDirectory() as name, sink() as server:
                reference = _reference(server, rival_count)
                folder = Path(name)
                url = (
                    postgres.create(f"bench{number}")
                    if setting.ledger == "postgresql"
                    else f"sqlite:///{folder}/bench.db"
                )
                rate, peak = _through_workers(setting, folder, brokers[setting.broker], url, server, rows)
            found.append((setting.name, rate, rate / reference if reference else 0.0, peak))
            print(f"  {setting.name}: {rate:,.0f}/s, Nodemailer {reference:,.0f}/s", file=sys.stderr)
    return found


def _reference(server: Sink, count: int) -> float:
    send = available().get(REFERENCE)
    if send is None:
        return 0.0
    with tempfile.TemporaryDirectory() as name:
        payload.write(Path(name), count)
        return send(server, Path(name), count).rate


def _through_workers(
    setting: Setting, folder: Path, broker: str, ledger: str, server: Sink, count: int
) -> tuple[float, float]:
    payload.write(folder, count)
    (folder / "mailer.toml").write_text(
        f'ledger = "{ledger}"\nbroker = "{broker}"\nrecipients_per_task = {setting.recipients_per_task}\n'
        f'[backends.sink]\nurl = "smtp://127.0.0.1:{server.port}?tls=none"\nconnections = 10\n'
        "transactional_reserve = 0\n"
    )
    migrate(ledger)
    before = server.count()
    enqueue(folder)
    with workers(folder, setting.processes) as worker:
        seconds = _until_finished(ledger, count)
        peak = max(_peak_mb(child) for child in _children(worker.pid))
    arrived = server.count() - before
    if arrived != count:
        raise SystemExit(f"{setting.name}: {arrived} arrived, {count} meant")
    return count / seconds, peak


def enqueue(folder: Path) -> None:
    """The payload's campaign, as bulk mail."""
    spec = folder / "campaign.toml"
    spec.write_text(spec.read_text().replace('stream = "transactional"', 'stream = "bulk"'))
    run(mailer("enqueue", "campaign.toml", "--yes"), folder)


@contextlib.contextmanager
def workers(folder: Path, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """``mailer worker`` in this folder, for bulk mail; its log is ``worker.log`` there."""
    command = mailer("worker", "--queues", "bulk", "--processes", str(processes))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)


def _until_finished(url: str, count: int) -> float:
    """Seconds from the first acceptance to the last, as the ledger recorded them."""
    ledger = open_ledger(url)
    try:
        deadline = time.monotonic() + 60 + count / 50
        while (campaign := ledger.campaigns.list()[-1]).state is not CampaignState.FINISHED:
            if time.monotonic() > deadline:
                raise SystemExit(f"not finished: {ledger.campaigns.counts(campaign.id).states}")
            time.sleep(0.2)
        accepted = ledger.campaigns.counts(campaign.id).states[State.ACCEPTED]
        if accepted != count:
            raise SystemExit(f"{accepted} accepted, {count} meant")
        settled = [row.settled_at for row in ledger.results.rows(campaign.id) if row.settled_at]
        return max(settled) - min(settled)
    finally:
        ledger.close()


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
