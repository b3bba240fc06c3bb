"""Keeps one backend busy, and lets it rest when it is out of order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailer.backends.contract import Backend
from mailer.delivery.jobs import Item

SHORTEST_REST = 2.0
LONGEST_REST = 300.0
#: A closed backend has answered everything; its workers only have to write that down.
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Resting:
    """A backend is left alone until then, and why; in the past when it works."""

    until: float = 0.0
    reason: str = ""


class Rest:
    """How long a backend is left alone: 2 s, doubling up to 5 minutes while it does not come back."""

    __slots__ = ("_length", "reason", "until")

    def __init__(self) -> None:
        self._length = 0.0
        self.until = 0.0
        self.reason = ""

    def failed(self, now: float, reason: str) -> float:
        """Until when to rest. Failures of calls that began before the rest do not lengthen it."""
        self.reason = reason
        if now >= self.until:
            self._length = min(max(SHORTEST_REST, 2 * self._length), LONGEST_REST)
            self.until = now + self._length
        return self.until

    def worked(self) -> None:
        self._length = 0.0


class Carrier:
    """One queue of claimed rows before one backend, and workers that each have one call under way.

    ``carry`` gets one item, or up to ``limits.batch`` where batches pay, and sees each of them settled; it
    does not raise. There are twice as many workers as the backend takes calls, so the next message is
    rendered and waits when a connection is free. Rows of several slices share the queue: connections
    stay busy across the end of a slice. Workers start with the first row.
    """

    def __init__(
        self, name: str, backend: Backend, carry: Callable[[Carrier, Sequence[Item]], Awaitable[None]]
    ) -> None:
        self.name = name
        self.backend = backend
        self.rest = Rest()
        self._carry = carry
        self._queue: deque[Item] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: list[asyncio.Task[None]] = []
        self._closing = False

    def put(self, items: Sequence[Item]) -> None:
        """Queue rows; never waits. The pump bounds how many there are."""
        self._queue.extend(items)
        if not self._workers and items:
            calls = 2 * self.backend.limits.concurrency
            self._workers = [asyncio.create_task(self._work()) for _ in range(calls)]
        for _ in range(min(len(self._queue), len(self._idle))):
            self._wake_one()

    async def close(self) -> None:
        """Let go of the backend; what it still answers is settled, then the workers end."""
        self._closing = True
        while self._idle:
            self._wake_one()
        await self.backend.close()
        if self._workers:
            await asyncio.wait(self._workers, timeout=CLOSE_SECONDS)
        self.abort()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def abort(self) -> None:
        """Stop the workers where they are."""
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        limits = self.backend.limits
        batch = limits.batch if limits.batched else 1
        while True:
            if self._queue:
                size = min(batch, len(self._queue))
                await self._carry(self, [self._queue.popleft() for _ in range(size)])
            elif self._closing:
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        await turn

    def _wake_one(self) -> None:
        turn = self._idle.popleft()
        if not turn.done():
            turn.set_result(None)
