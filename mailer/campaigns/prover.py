"""The child process that proves chunks, and nothing else: limited in memory and in time per row.

A thread cannot interrupt a template that runs away, and Python cannot interrupt its own C code; the
kernel can end a process. Before each row the child writes down which it is and arms a timer of processor
time, so the parent knows which row it was.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the child takes its task off the socket before it loads what rendering needs
    from mailer.campaigns.proof import Proof, Task
    from mailer.campaigns.recipients.contract import Chunk

#: Processor seconds for one row. A usual one takes a ten-thousandth of that.
ROW_SECONDS = 1.0
#: Processor seconds for compiling, and for examining one chunk before its first row is rendered.
START_SECONDS = 10.0
#: Address space of the child. Code and libraries take about a fifth of it.
MEMORY = 2 << 30

#: Written down while no row is being rendered.
NO_ROW = 0
_WIDTH = 8


def note(descriptor: int, ordinal: int) -> None:
    os.pwrite(descriptor, ordinal.to_bytes(_WIDTH, "little"), 0)


def noted(descriptor: int) -> int:
    """The row that was being rendered, or NO_ROW."""
    return int.from_bytes(os.pread(descriptor, _WIDTH, 0), "little")


def main(channel: int, notes: int) -> None:
    """Serve the parent at the other end of the socket ``channel`` until it closes it, as after a Ctrl-C."""
    _limit_memory()
    with Connection(channel) as parent:
        try:
            _serve(parent, notes)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _serve(parent: Connection, notes: int) -> None:
    received = parent.recv_bytes()
    from mailer.campaigns.proof import Prover
    from mailer.errors import MailerError

    task: Task = pickle.loads(received)  # noqa: S301 - from our own parent
    _allow(START_SECONDS)
    try:
        prover = Prover(task)
    except MailerError as error:
        parent.send(error)
        return
    parent.send(prover.compiled)

    def begin(ordinal: int) -> None:
        note(notes, ordinal)
        _allow(ROW_SECONDS)

    while True:
        _allow(0.0)
        job: tuple[Chunk, Mapping[int, str]] = parent.recv()
        note(notes, NO_ROW)
        _allow(START_SECONDS)
        proof: Proof = prover(*job, begin)
        _allow(0.0)
        parent.send(proof)


def _allow(seconds: float) -> None:
    """The kernel ends this process (SIGPROF) after that much processor time from now; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError):  # macOS has no such limit
        return
