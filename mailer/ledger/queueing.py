"""Writers of several processes take turns: a lock on a file beside the ledger.

SQLite's own busy handler polls, and starves: of two processes that commit back to back one got 27 780
turns and the other 178. ``flock`` is a queue in the kernel; three processes got 9 743, 9 249 and 8 708.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailer.errors import LedgerBusy

#: How long a writer waits for the others before it gives up.
PATIENCE_SECONDS = 60.0


class WriteQueue:
    """One turn at a time, over all threads and processes that use this file. Not re-entrant.

    A dead process loses its turn at once, however it died.
    """

    def __init__(self, path: Path, patience: float = PATIENCE_SECONDS) -> None:
        self._path = path
        self._patience = patience
        self._threads = threading.Lock()
        self._file: int | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises LedgerBusy when no turn came, OSError when the file cannot be opened."""
        if not self._threads.acquire(timeout=self._patience):
            raise self._busy()
        try:
            file = self._opened()
            self._lock(file)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def close(self) -> None:
        """Wait for the turn under way and close the file; the next turn opens it again."""
        with self._threads:
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

    def after_fork(self) -> None:
        """In the child: with the file open, it would keep the turn of a parent that dies."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._file

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._queue(file)

    def _queue(self, file: int) -> None:
        """Wait in the kernel's queue, on a thread, because ``flock`` has no time limit."""
        waiter = _Waiter(file)
        waiter.start()
        if not waiter.granted.wait(self._patience):
            self._file = None  # the waiter closes it
            if waiter.abandon():
                raise self._busy()
            self._file = file

    def _busy(self) -> LedgerBusy:
        return LedgerBusy(
            f"another process has been writing to {self._path.name.removesuffix('-lock')} for more than"
            f" {self._patience:.0f} s: end it, or try again"
        )


class _Waiter(threading.Thread):
    """Blocks in ``flock``. Abandoned, it closes the file as soon as it gets the lock."""

    def __init__(self, file: int) -> None:
        super().__init__(name="ledger-write-queue", daemon=True)
        self.granted = threading.Event()
        self._file = file
        self._lock = threading.Lock()
        self._abandoned = False

    def run(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._lock:
            if self._abandoned:
                os.close(self._file)
            else:
                self.granted.set()

    def abandon(self) -> bool:
        """False: the lock came just now."""
        with self._lock:
            self._abandoned = not self.granted.is_set()
            return self._abandoned
