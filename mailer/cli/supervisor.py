"""Keeps worker processes running: starts them, hears them, replaces the dead, ends them in good order."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mailer.cli.output import note
from mailer.publisher import REPORT_FD

#: What a worker exits with when its settings are wrong: starting it again would not help.
REFUSED = 2
#: The first wait before a dead worker is replaced; doubled each time, up to the second.
SHORTEST_REST, LONGEST_REST = 1.0, 60.0
#: A worker that ran for so long has worked: the next wait is the shortest again.
STEADY_SECONDS = 60.0
#: From SIGTERM to the end. Workers give up after 24 s; 30 s are promised, on a busy machine too.
STOP_SECONDS = 27.0
#: From the second signal to the end: time to write down what is unknown now.
ABANDON_SECONDS = 5.0
#: A worker says something each second. One that is silent for so long hangs, and is replaced.
SILENT_SECONDS = 60.0
_LOOK_SECONDS = 0.1

#: One line of a worker: its name, its process id, and what it says.
Hear = Callable[[str, int, dict[str, Any]], None]


class Child:
    """One worker process, and those that take its place."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.code: int | None = None
        self.heard_at: float | None = None
        #: Seconds from its last end to its next start, and when that is.
        self.wait = 0.0
        self.start_at = 0.0
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._line = b""
        self._began = 0.0
        self._rest = SHORTEST_REST

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def fileno(self) -> int:
        """Of its pipe, for ``select``."""
        return self._pipe

    def start(self) -> None:
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        # A session of its own: Ctrl-C reaches the supervisor alone, which decides what it means.
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            self._command,
            env=os.environ | {REPORT_FD: str(theirs)},
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        self._began, self._line, self.heard_at, self.code = time.monotonic(), b"", None, None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def reports(self) -> list[dict[str, Any]]:
        """What it has said since the last time."""
        try:
            self._line += os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            return []
        *lines, self._line = self._line.split(b"\n")
        if lines:
            self.heard_at = time.monotonic()
        return [json.loads(line) for line in lines]

    def reap(self) -> bool:
        """True: it ended just now, with ``code``; it may be started again at ``start_at``."""
        if self._process is None or (code := self._process.poll()) is None:
            return False
        self.code, self._process = code, None
        os.close(self._pipe)
        now = time.monotonic()
        if now - self._began > STEADY_SECONDS:
            self._rest = SHORTEST_REST
        self.wait = self._rest
        self.start_at = now + self.wait
        self._rest = min(2 * self._rest, LONGEST_REST)
        return True

    def silent(self) -> bool:
        return self.heard_at is not None and time.monotonic() - self.heard_at > SILENT_SECONDS


class Supervisor:
    """``run`` once, on the main thread; ``hear`` gets what the workers report, ``ended`` who died, ``tell``
    what a person should know."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        hear: Hear = lambda name, pid, report: None,
        ended: Callable[[str, int], None] = lambda name, pid: None,
        tell: Callable[[str], object] = note,
    ) -> None:
        self._children = [Child(name, command) for name, command in commands.items()]
        self._hear = hear
        self._ended = ended
        self._tell = tell
        self._signals = 0
        self._killed = False

    def alive(self) -> dict[str, bool]:
        """Each worker by name, and whether it has said something lately."""
        return {
            child.name: child.running and child.heard_at is not None and not child.silent()
            for child in self._children
        }

    def run(self) -> int:
        """Until SIGTERM or SIGINT. 0: all ended in good order; 1: some had to be abandoned; 2: a worker
        refused its settings. The second signal abandons what is in flight, which becomes unknown."""
        former = {number: signal.signal(number, self._count) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            refused = self._keep_running()
            self._end()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        return refused or int(self._killed)

    def _count(self, *_: object) -> None:
        self._signals += 1

    def _keep_running(self) -> int:
        self._tell(f"{len(self._children)} worker processes; Ctrl-C stops them")
        while not self._signals:
            for child in self._children:
                if not child.running and time.monotonic() >= child.start_at:
                    child.start()
            for child in self._look():
                if child.code == REFUSED:
                    return REFUSED
                self._tell(f"worker {child.name} {_how(child.code)}; started again in {child.wait:.0f} s")
            self._wake_the_silent()
        return 0

    def _look(self) -> list[Child]:
        """Wait a moment for news; those that ended."""
        running = [child for child in self._children if child.running]
        for child in select.select(running, [], [], _LOOK_SECONDS)[0]:
            for report in child.reports():
                self._hear(child.name, child.pid, report)
        if not running:
            time.sleep(_LOOK_SECONDS)
        return [child for child in running if self._reaped(child)]

    def _reaped(self, child: Child) -> bool:
        pid = child.pid
        if not child.reap():
            return False
        self._ended(child.name, pid)
        return True

    def _wake_the_silent(self) -> None:
        for child in self._children:
            if child.running and child.silent():
                self._tell(f"worker {child.name} has been silent for {SILENT_SECONDS:.0f} s: killed")
                child.signal(signal.SIGKILL)

    def _end(self) -> None:
        """SIGTERM; after a second signal to us SIGUSR2, which abandons; in the end SIGKILL."""
        self._tell("stopping: what is in flight finishes, a second signal abandons it")
        self._signal_all(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while any(child.running for child in self._children):
            self._look()
            if self._signals > 1 and not self._killed:
                self._tell("abandoning what is in flight")
                self._killed, until = True, time.monotonic() + ABANDON_SECONDS
                self._signal_all(signal.SIGUSR2)
            if time.monotonic() > until:
                self._killed = True
                self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            child.signal(number)


def _how(code: int | None) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with code {code}"
