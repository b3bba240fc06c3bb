"""Real Celery workers for tests: processes of their own, in a folder with a mailer.toml."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from mailer import broadcast, publisher
from mailer.cli import supervisor
from mailer.delivery import keeper, pump, source
from mailer.publisher import worker_argv
from tests.delivering import World
from tests.forked import PATIENCE, Forked, celery, command

ROOT = Path(__file__).parents[1]


def write_settings(
    folder: Path,
    *,
    broker: str,
    backend: str,
    ledger: str = "sqlite:///mailer.db",
    rate: str = "[]",
    lease: float = 10.0,
    connections: int = 10,
) -> None:
    """A mailer.toml with one backend, ``main``; unless it is said otherwise the ledger lies beside it."""
    (folder / "mailer.toml").write_text(
        f'ledger = "{ledger}"\n'
        f'broker = "{broker}"\n'
        f"lease_seconds = {lease}\n"
        f"[backends.main]\n"
        f'url = "{backend}"\n'
        f"rate = {rate}\n"
        f"connections = {connections}\n"
    )


def environment() -> dict[str, str]:
    """Warnings of other people's packages are not errors of a worker."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""}


def run(folder: Path, work: Callable[..., None], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of ``tests.forked`` in this folder, to its end."""
    with tempfile.TemporaryDirectory() as beside:
        out, err = Path(beside, "out"), Path(beside, "err")
        process = Forked(work, *arguments, folder=folder, environment=environment(), out=out, err=err)
        return subprocess.CompletedProcess(arguments, process.wait(), out.read_text(), err.read_text())


@contextmanager
def supervised(folder: Path, *options: str, work: Callable[..., None] = command) -> Iterator[Forked]:
    """``mailer worker`` in this folder; its log is ``supervisor.log`` there."""
    log = folder / "supervisor.log"
    log.touch()
    process = Forked(work, "worker", *options, folder=folder, environment=environment(), out=log, err=log)
    try:
        yield process
    finally:
        process.stop()


def children(process: Forked) -> dict[str, int]:
    """The workers of a supervisor: their name, such as ``bulk-1``, and their process id."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(OSError, ValueError):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found[words[words.index("--hostname") + 1].removesuffix("@%h")] = int(pid)
    return found


@contextmanager
def worker(
    folder: Path, name: str = "w1", *more: str, work: Callable[..., None] = celery
) -> Iterator[Forked]:
    """A worker that was started in this folder; its log is ``<name>.log`` there."""
    log, arguments = folder / f"{name}.log", [*worker_argv(name=name)[3:], *more]
    log.touch()
    process = Forked(work, *arguments, folder=folder, environment=environment(), out=log, err=log)
    try:
        yield process
    finally:
        process.stop()


def holders(folder: Path) -> set[str]:
    """The workers that hold leases, by the names that the ledger knows them by."""
    with closing(sqlite3.connect(folder / "mailer.db")) as ledger:
        return {name for (name,) in ledger.execute("SELECT DISTINCT worker FROM lease")}


def leases_end(folder: Path, world: World, pid: int) -> None:
    """What this worker holds it holds no longer, as if so much time had passed.

    For a worker that cannot renew them. Leases that really are short run out for all whenever a busy machine
    holds them up.
    """
    for name in holders(folder):
        if f":{pid}:" in name:
            world.ledger.slices.abandon(name)


def patient_celery(*arguments: str) -> None:
    """A worker that looks once an hour, or four times in a lease: what it knows sooner it was told."""
    for place, name in ((keeper, "LOOK_SECONDS"), (pump, "HOUSE_SECONDS"), (source, "LOOK_AGAIN")):
        setattr(place, name, 3600.0)
    celery(*arguments)


def impatient_for_a_broker(*_: str) -> None:
    """Looks eight times for the broker of this folder; prints what a worker would wait between."""
    from kombu.exceptions import OperationalError
    from kombu.utils import functional

    from tasks.app import app

    functional.sleep = lambda seconds: None
    waits: list[float] = []
    with suppress(OperationalError):
        app.connection_for_read().ensure_connection(lambda error, wait: waits.append(wait), 8)
    print(waits)


def patient_supervisor(*arguments: str) -> None:
    """It leaves workers that abandon everything the time to write that down, on any machine."""
    supervisor.ABANDON_SECONDS = PATIENCE
    command(*arguments)


def patient_command(*arguments: str) -> None:
    """A command whose word to the workers arrives also on a machine that is very busy."""
    for place, name in ((broadcast, "USEFUL_SECONDS"), (broadcast, "PATIENCE"), (publisher, "PATIENCE")):
        setattr(place, name, PATIENCE)
    command(*arguments)
