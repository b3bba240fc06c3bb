"""Hints to engines in child processes, over the one ledger: for more cores than one."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from mailer.delivery.carrier import Resting
from mailer.delivery.contract import Hint
from mailer.delivery.dispatcher import CAPACITY, Done
from mailer.delivery.frames import Drain, Report, post, receive
from mailer.delivery.jobs import Delivered
from mailer.delivery.station import StationConfig
from mailer.errors import LedgerError, MailerError
from mailer.ledger.writer import GroupCommit

log = logging.getLogger(__name__)

#: A child that dies is replaced this often; then something is wrong that a new one will not mend.
MOST_REPLACEMENTS = 5


@dataclass(slots=True, eq=False)
class _Child:
    config: StationConfig
    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    listener: asyncio.Task[None] | None = None
    out: dict[tuple[int, ...], Hint] = field(default_factory=dict)
    rows: int = 0


class Processes:
    """Implements ``Dispatcher`` over children that each have an engine, a writer and their share of the
    connections.

    Children end with their parent. One that dies is replaced, and its leases end at once: what it had
    claimed goes back, what it was sending becomes unknown.
    """

    def __init__(
        self,
        config: StationConfig,
        count: int,
        ledger: GroupCommit,
        *,
        capacity: int = CAPACITY,
        done: Callable[[Done], None] | None = None,
    ) -> None:
        fewest = min((backend.connections for backend in config.backends.values()), default=count)
        self.count = max(1, min(count, fewest))  # a child without a connection is no use
        self._config = config
        self._ledger = ledger
        self._capacity = capacity
        self._done = done
        self._children: list[_Child] = []
        self._rests: dict[str, Resting] = {}
        self._replaced = 0
        self._closing = False

    @property
    def workers(self) -> tuple[str, ...]:
        """Under these names the children hold leases."""
        return tuple(self._config.share(number, self.count).worker for number in range(self.count))

    async def start(self) -> None:
        for number in range(self.count):
            await self._spawn(self._config.share(number, self.count))

    def free(self, stream: str = "bulk") -> int:
        if self._closing:
            return 0
        return max((self._capacity - child.rows for child in self._children), default=0)

    def outstanding(self) -> frozenset[int]:
        return frozenset(id_ for child in self._children for ids in child.out for id_ in ids)

    def resting(self, backend: str) -> Resting:
        """Until when the children leave this backend alone, and why, as the last of them said."""
        return self._rests.get(backend, Resting())

    async def dispatch(self, hint: Hint) -> None:
        if not self._children:
            return
        child = min(self._children, key=lambda child: child.rows)
        child.out[hint.ids] = hint
        child.rows += len(hint.ids)
        post(child.writer, hint)

    async def drain(self, seconds: float) -> bool:
        self._closing = True
        for child in self._children:
            post(child.writer, Drain(seconds))
        waiting = [asyncio.create_task(child.process.wait()) for child in self._children]
        if not waiting:
            return True
        _, late = await asyncio.wait(waiting, timeout=seconds + 5)
        for task in late:
            task.cancel()
        return not late

    async def close(self) -> None:
        self._closing = True
        for child in list(self._children):
            if child.process.returncode is None:
                child.process.kill()
        listeners = [child.listener for child in self._children if child.listener]
        await asyncio.gather(*listeners, return_exceptions=True)

    async def _spawn(self, config: StationConfig) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "mailer.delivery.child",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us, also while it is still being loaded
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        child = _Child(config, process, writer)
        post(writer, config)
        self._children.append(child)
        child.listener = asyncio.create_task(self._listen(child, reader))

    async def _listen(self, child: _Child, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                self._reported(child, await receive(reader))
        except EOFError:
            pass
        finally:
            await self._ended(child)

    def _reported(self, child: _Child, report: Report) -> None:
        self._rests.update(report.rests)
        hint = child.out.pop(report.done.hint.ids, None)
        if hint is not None:
            child.rows -= len(hint.ids)
            self._tell(Done(hint, report.done.delivered, report.done.error))

    async def _ended(self, child: _Child) -> None:
        """The child is gone, and whatever it held is free again."""
        child.writer.close()
        await child.process.wait()
        self._children.remove(child)
        error: BaseException | None = None
        try:
            await self._ledger.run(lambda ledger: ledger.slices.take_back(child.config.worker))
            if not self._closing:
                error = await self._replace(child)
        except LedgerError as broken:
            error = broken
        for hint in child.out.values():
            self._tell(Done(hint, Delivered(), error))

    async def _replace(self, child: _Child) -> BaseException | None:
        status = child.process.returncode
        log.warning("worker process %d ended with status %s", child.process.pid, status)
        self._replaced += 1
        if self._replaced > MOST_REPLACEMENTS:
            return None if self._children else MailerError(f"worker processes keep ending (status {status})")
        await self._spawn(child.config)
        return None

    def _tell(self, done: Done) -> None:
        if self._done is not None:
            self._done(done)
