"""Keeps one backend busy, and lets it rest when it is out of order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailer.backends.contract import Backend
from mailer.delivery.breaker import Breaker, Circuit
from mailer.delivery.circuits import Circuits
from mailer.delivery.jobs import Item
from mailer.delivery.limits.shares import TRANSACTIONAL
from mailer.delivery.verdicts import Via

#: A closed backend has answered everything; its workers only have to write that down.
CLOSE_SECONDS = 5.0
#: How long a backend that a person has paused is left alone before that is looked at again.
PAUSED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Resting:
    """A backend is left alone until then, and why; in the past when it works."""

    until: float = 0.0
    reason: str = ""


WORKS = Resting()


class Carrier:
    """One queue of claimed rows before one backend, and workers that each have one call under way.

    ``carry`` gets one item, or up to ``limits.batch`` where batches pay, and sees each of them settled; it
    does not raise. There are twice as many workers as the backend takes calls, so the next message is
    rendered and waits when a connection is free. Rows of several slices share the queue: connections
    stay busy across the end of a slice. Workers start with the first row. While the circuit is half-open
    one row at a time is carried, and the others wait for what becomes of it.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        carry: Callable[[Carrier, Sequence[Item]], Awaitable[None]],
        clock: Callable[[], float],
        circuits: Circuits | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        limits = backend.limits
        #: Messages that one call carries.
        self.batch = limits.batch if limits.batched else 1
        self.via = Via(name, limits.idempotency_window if limits.idempotent else 0.0)
        self.breaker = Breaker()
        #: A person has paused it; that holds until it is looked at again, or nobody would look.
        self.paused_until = 0.0
        self._circuits = circuits
        if circuits is not None:
            circuits.add(name, self.breaker)
        self._clock = clock
        self._carry = carry
        self._probing = False
        self._queue: deque[Item] = deque()
        self._urgent = 0  # how many at its head are transactional
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: list[asyncio.Task[None]] = []
        self._returning: set[asyncio.Future[None]] = set()
        self._closing = False

    def resting(self, now: float) -> Resting:
        if self.paused_until > now:
            return Resting(self.paused_until, "paused by a person")
        if self.breaker.until > now:
            return Resting(self.breaker.until, self.breaker.reason)
        return WORKS

    def heard(self, now: float, *, paused: bool) -> None:
        """What the ledger said about it just now. What waits here and is not to be sent goes back at once:
        the workers may all be waiting for a slow server."""
        self.paused_until = now + PAUSED_SECONDS if paused else 0.0
        back = [item for item in self._queue if paused or item[0].halted]
        if back:
            kept = [item for item in self._queue if not (paused or item[0].halted)]
            self._queue = deque(kept)
            self._urgent = sum(job.composition.stream == TRANSACTIONAL for job, _ in kept)
            returning = asyncio.ensure_future(self._carry(self, back))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)

    def testing(self, now: float) -> bool:
        """Half-open, and its probe is under way or waits: one row more would only wait for it."""
        half_open = self.breaker.circuit(now) is Circuit.HALF_OPEN
        return half_open and (self._probing or bool(self._queue))

    def put(self, items: Sequence[Item]) -> None:
        """Queue rows of one slice; never waits. The pump bounds how many there are, but not those that an
        application hands over: transactional mail goes before bulk."""
        if items and items[0][0].composition.stream == TRANSACTIONAL:
            for item in items:
                self._queue.insert(self._urgent, item)
                self._urgent += 1
        else:
            self._queue.extend(items)
        if not self._workers and items:
            calls = 2 * self.backend.limits.concurrency
            self._workers = [asyncio.create_task(self._work()) for _ in range(calls)]
        self.wake()

    def wake(self) -> None:
        """There is something to carry, or to give back."""
        calls = -(-len(self._queue) // self.batch)
        for _ in range(min(calls, len(self._idle))):
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
        await asyncio.gather(*self._workers, *self._returning, return_exceptions=True)

    def abort(self) -> None:
        """Stop the workers where they are."""
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                await self._wait()
            elif self.breaker.closed:
                await self._carry(self, self._taken(self.batch))
            elif self.breaker.circuit(self._clock()) is Circuit.OPEN or self._queue[0][0].halted:
                await self._carry(self, self._taken(1))  # they are given back
            elif self._probing:
                await self._wait()
            else:
                await self._probe()

    def _taken(self, most: int) -> list[Item]:
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        self._urgent = max(0, self._urgent - len(taken))
        return taken

    async def _probe(self) -> None:
        """One row, unless another process tries this backend; then the breaker has been told so."""
        self._probing = True
        try:
            if self._circuits is None or await self._circuits.may_probe(self.name):
                await self._carry(self, self._taken(1))
        finally:
            self._probing = False
            if self._circuits is not None:
                self._circuits.probed(self.name)
            self.wake()

    def tell(self) -> None:
        """The other processes, what this one found of the backend."""
        if self._circuits is not None:
            self._circuits.wake()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        await turn

    def _wake_one(self) -> None:
        turn = self._idle.popleft()
        if not turn.done():
            turn.set_result(None)
