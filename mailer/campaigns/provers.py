"""Several child processes that prove chunks; answers come in the order of the chunks.

At most a few chunks are under way, so memory is flat however long the list. A child that is ended by the
kernel loses nothing: its chunk is given to a new one, without the row that did it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType

from mailer.campaigns import prover
from mailer.campaigns.proof import Compiled, Proof, Task
from mailer.campaigns.prover import NO_ROW, ROW_SECONDS, START_SECONDS
from mailer.campaigns.recipients.contract import Chunk
from mailer.errors import MailerError, TemplateError

#: Rows that may run away before we say it is the template.
RUNAWAYS = 10
#: … as long as no row has succeeded.
RUNAWAYS_AT_FIRST = 2
#: Finished chunks per child that may wait for an earlier one.
_AHEAD = 4


class Child:
    """One process. It has compiled the mail (``compiled``) when its first answer has come."""

    def __init__(self, task: Task) -> None:
        ours, theirs = socket.socketpair()
        self._notes = tempfile.TemporaryFile(prefix="mailer-row-")  # noqa: SIM115 - closed in close()
        notes = self._notes.fileno()
        prover.note(notes, NO_ROW)
        with theirs:
            self._process = _start(theirs.fileno(), notes)
        self.channel = Connection(ours.detach())
        self.channel.send(task)
        self.compiled: Compiled | None = None
        self.number: int | None = None  # of the chunk it works on
        self._job: tuple[Chunk, dict[int, str]] | None = None

    def prove(self, number: int, chunk: Chunk, doomed: dict[int, str]) -> None:
        """Sent once it is ready: until then nobody reads at the other end, and we would wait for it."""
        self.number = number
        self._job = (chunk, doomed)
        if self.compiled is not None:
            self._send()

    def _send(self) -> None:
        if self._job is not None:
            self.channel.send(self._job)
            self._job = None

    def answer(self) -> Compiled | Proof | None:
        """None: the process has ended. Raises what the child raised."""
        try:
            answer = self.channel.recv()
        except (EOFError, ConnectionResetError):
            return None
        if isinstance(answer, MailerError):
            raise answer
        if isinstance(answer, Proof):
            self.number = None
            return answer
        compiled: Compiled = answer
        self.compiled = compiled
        self._send()
        return compiled

    def last_row(self) -> int:
        return prover.noted(self._notes.fileno())

    def last_words(self) -> str:
        """Why the process has ended, for people."""
        code = self._process.wait()
        row = self.last_row() != NO_ROW
        what = (
            "rendering this row" if row else "reading the rows" if self.compiled else "compiling the template"
        )
        if code == -signal.SIGPROF:
            return f"{what} took more than {ROW_SECONDS if row else START_SECONDS:g} s of processor time"
        return f"{what} ended the process; did it take too much memory?"

    def close(self) -> None:
        self.channel.close()
        self._process.kill()
        self._process.wait()
        self._notes.close()


def _start(channel: int, notes: int) -> subprocess.Popen[bytes]:
    # Not multiprocessing: its children run the caller's main module again.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from mailer.campaigns.prover import main; "
        f"main({channel}, {notes})"
    )
    # A child inherits the mask: Ctrl-C reaches the whole terminal, and is from the first moment for us alone.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-c", code],
            pass_fds=(channel, notes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


class Provers:
    """A pool of up to ``count`` children, started when there is work for them. A context manager."""

    def __init__(self, task: Task, count: int) -> None:
        self._task = task
        self._count = max(1, count)
        self._children: list[Child] = []
        self._doomed: dict[int, dict[int, str]] = {}
        self._chunks: dict[int, Chunk] = {}
        self._done: dict[int, Proof] = {}
        self._runaways = 0
        self._successes = 0
        self.compiled = Compiled()

    def __enter__(self) -> Provers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.close()

    def prove(self, chunks: Iterable[Chunk]) -> Iterator[Proof]:
        """One proof per chunk, in order. Raises TemplateError when the template itself is at fault, and
        whatever reading the chunks raises."""
        source = enumerate(chunks)
        following = 0
        exhausted = False
        while True:
            while not exhausted and self._room(following):
                exhausted = not self._feed(source)
            while following in self._done:
                yield self._done.pop(following)
                following += 1
                if not exhausted and self._room(following):
                    exhausted = not self._feed(source)
            if not self._chunks and not self._done and exhausted:
                return
            self._collect()

    def _room(self, following: int) -> bool:
        idle = any(child.number is None for child in self._children) or len(self._children) < self._count
        return idle and len(self._chunks) + len(self._done) < _AHEAD * self._count

    def _feed(self, source: Iterator[tuple[int, Chunk]]) -> bool:
        """Give the next chunk to an idle child; False when there is none."""
        item = next(source, None)
        if item is None:
            return False
        number, chunk = item
        self._chunks[number] = chunk
        self._assign(number)
        return True

    def _assign(self, number: int) -> None:
        child = next((child for child in self._children if child.number is None), None)
        if child is None:
            child = Child(self._task)
            self._children.append(child)
        child.prove(number, self._chunks[number], self._doomed.get(number, {}))

    def _collect(self) -> None:
        """Wait for answers, and take all that have come."""
        heard = set(wait([child.channel for child in self._children]))
        for child in [child for child in self._children if child.channel in heard]:
            number = child.number
            answer = child.answer()
            if answer is None:
                self._replace(child)
            elif isinstance(answer, Proof):
                assert number is not None  # noqa: S101 - a proof answers a chunk
                self._successes += answer.rendered
                self._done[number] = answer
                del self._chunks[number]
                self._doomed.pop(number, None)
            else:
                self.compiled = answer

    def _replace(self, child: Child) -> None:
        """Its chunk goes to a new child, without the row that ended it."""
        self._children.remove(child)
        reason, row, number = child.last_words(), child.last_row(), child.number
        child.close()
        self._runaways += 1
        allowed = RUNAWAYS if self._successes else RUNAWAYS_AT_FIRST
        if row == NO_ROW or number is None or self._runaways >= allowed:
            raise TemplateError(
                reason.replace("this row", f"row {row}"),
                self._task.package.root,
                hint="Look for loops over large ranges and for filters on very long values.",
            )
        self._doomed.setdefault(number, {})[row] = reason
        self._assign(number)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
