"""Commands in processes of their own that are forked with their imports done.

A fresh interpreter imports for a second before it does anything, and there are hundreds. What is forked has
its own folder, environment, output and process id like any other, and is killed like any other.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import mailer.__main__
from mailer.cli import progress

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.preloaded"])

#: linux/prctl.h
PR_SET_PDEATHSIG = 1
#: How long anything that a test waits for may take. Generous: it decides nothing but a hang.
PATIENCE = 120.0


class Forked:
    """One process; has what ``tests.servers.Process`` has. Output and errors are appended to files."""

    def __init__(
        self,
        work: Callable[..., None],
        *arguments: Any,
        folder: Path,
        environment: Mapping[str, str],
        out: Path,
        err: Path,
        stdin: Path = Path(os.devnull),
    ) -> None:
        files = (str(stdin), str(out), str(err))
        self._process = FORKED.Process(
            target=orphan_ends,
            args=(_become, work, arguments, str(folder), dict(environment), files),
        )
        self.log = err
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = PATIENCE) -> int:
        """Until it ends. Raises TimeoutError, and then it is killed."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"{self.log.name}: a process did not end within {seconds:g} s")
        return self._process.exitcode

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End at once, as a crash would."""
        self._process.kill()
        self._process.join()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int | None:
        """End in good order; after ``PATIENCE`` at once. Its exit code."""
        if self.running:
            with suppress(ProcessLookupError):  # it ended just now, and that is not known here yet
                self.go_on()
                os.kill(self.pid, sign)
            self._process.join(PATIENCE)
        self.kill()
        return self.code


def command(*arguments: str) -> None:
    """``python -m mailer`` with these arguments."""
    sys.argv = [mailer.__main__.__file__, *arguments]
    mailer.__main__.main()


def talkative_command(*arguments: str) -> None:
    """A command that says how far it is from the beginning on, not only after five seconds."""
    progress.LINE_SECONDS = 0.0
    command(*arguments)


def sink(file: str) -> None:
    """``python -m mailer.sink FILE``."""
    sys.argv = ["mailer.sink", file]
    runpy.run_module("mailer.sink", run_name="__main__")


def celery(*arguments: str) -> None:
    """``python -m celery`` with these arguments; the app reads the settings now, in this folder."""
    from celery.bin.celery import main

    sys.argv = ["celery", *arguments]
    main()


def orphan_ends(work: Callable[..., None], *arguments: Any) -> None:
    """Do the work; it is over when the test run is, however that ended. Linux alone can do it.

    The server of forks lives as long as anybody holds the other end of its pipe, which it hands to all that
    it starts: a worker that nobody waits for any more would keep it, and itself.
    """
    alive = forkserver._forkserver  # type: ignore[attr-defined]
    os.close(alive._forkserver_alive_fd)
    alive._forkserver_alive_fd = None
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    work(*arguments)


def _become(
    work: Callable[..., None],
    arguments: Sequence[Any],
    folder: str,
    environment: Mapping[str, str],
    files: tuple[str, str, str],
) -> None:
    """What a fresh process has from its start."""
    os.setsid()  # what it leaves behind is not the server's
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    os.chdir(folder)
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, (name, mode) in enumerate(zip(files, modes, strict=True)):
        opened = os.open(name, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    importlib.reload(sys.modules["mailer.crash"])  # it reads the environment when it is imported
    work(*arguments)
