"""Real Celery workers for tests: processes of their own, in a folder with a mailer.toml."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailer import broadcast
from mailer.delivery import keeper, pump, source
from mailer.publisher import worker_argv
from tests.forked import Forked, celery, command
from tests.servers import Process

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
def supervised(folder: Path, *options: str) -> Iterator[Process]:
    """``mailer worker`` in this folder; its log is ``supervisor.log`` there."""
    command = [sys.executable, "-m", "mailer", "worker", *options]
    process = Process(
        command, folder / "supervisor.log", orphaned=signal.SIGTERM, cwd=folder, env=environment()
    )
    try:
        yield process
    finally:
        process.stop()


def children(process: Process) -> dict[str, int]:
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
    process = Forked(work, *arguments, folder=folder, environment=environment(), out=log, err=log)
    try:
        yield process
    finally:
        process.stop()


def patient_celery(*arguments: str) -> None:
    """A worker that looks once an hour, or four times in a lease: what it knows sooner it was told."""
    for place, name in ((keeper, "LOOK_SECONDS"), (pump, "HOUSE_SECONDS"), (source, "LOOK_AGAIN")):
        setattr(place, name, 3600.0)
    celery(*arguments)


def patient_command(*arguments: str) -> None:
    """A command whose word to the workers arrives also on a machine that is very busy."""
    broadcast.USEFUL_SECONDS = 60.0
    command(*arguments)
