"""One process runs an embedded campaign; another that tries is told which."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from mailer.ledger.ledger import Ledger
from mailer.ledger.runs import being_sent


def run_lock(
    ledger: Ledger, campaign_id: int, workers: tuple[str, ...]
) -> AbstractContextManager[tuple[str, ...]]:
    """Held while this process runs the campaign. Gives the names of workers that may still hold rows of it,
    and are dead. Raises StateConflict while another process, on whatever machine, holds it."""
    file = _file(ledger, campaign_id)
    return ledger.runs.hold(campaign_id) if file is None else campaign_lock(file, workers)


def is_run(ledger: Ledger, campaign_id: int) -> bool:
    """Some process holds its lock."""
    file = _file(ledger, campaign_id)
    return ledger.runs.holder(campaign_id) is not None if file is None else is_locked(file)


def _file(ledger: Ledger, campaign_id: int) -> Path | None:
    path = ledger.database.path
    return None if path is None else path.with_name(f"{path.name}.{campaign_id}.lock")


@contextmanager
def campaign_lock(path: Path, workers: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Hold the campaign's lock file; gives the worker names of the last owner, who is dead.

    The kernel lets go of the lock when its owner dies, however that happens. An owner that leaves in good
    order takes the file along. Raises StateConflict while another process holds it.
    """
    with _locked(path) as file:
        former = _workers(_owner(file))
        _write(file, workers)
        yield former
        path.unlink()  # while it is held: nobody else may take this file, or removes another's


def is_locked(path: Path) -> bool:
    """Some process holds this lock now."""
    try:
        with path.open("r", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _locked(path: Path) -> IO[str]:
    """The file, held. One that its owner removed between our opening and our locking it protects nothing."""
    while True:
        file = path.open("a+", encoding="ascii")
        try:
            os.fchmod(file.fileno(), 0o600)
            _acquire(file)
            if _is_there(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_there(file: IO[str], path: Path) -> bool:
    """The path still leads to this very file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _acquire(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _owner(file).get("pid", "unknown")
        raise being_sent(f"process {pid}") from None


def _owner(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    try:
        owner = json.loads(file.read())
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _workers(owner: dict[str, object]) -> tuple[str, ...]:
    workers = owner.get("workers")
    return tuple(map(str, workers)) if isinstance(workers, list) else ()


def _write(file: IO[str], workers: tuple[str, ...]) -> None:
    file.seek(0)
    file.truncate()
    json.dump({"pid": os.getpid(), "workers": workers}, file)
    file.flush()
