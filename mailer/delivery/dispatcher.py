"""Hints that never leave this process: straight from the pump to its engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailer.delivery.contract import Hint
from mailer.delivery.jobs import Delivered

#: Recipients hinted at once: what one process sends in about a tenth of a second, in three slices, so that
#: connections stay busy while a new slice is claimed.
CAPACITY = 600
#: The same where requests hold many messages: each waits for the slowest part of its batch, for the answer
#: to all of it, and for two commits.
BATCHED_CAPACITY = 1200


class Deliverer(Protocol):
    """An engine, as far as a dispatcher is concerned."""

    async def deliver(self, ids: Sequence[int]) -> Delivered: ...

    @property
    def batches(self) -> bool:
        """Some of what it sends goes out many messages at a time."""
        ...

    def drain(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Done:
    """A hint that was worked off. ``error`` is what delivering it raised."""

    hint: Hint
    delivered: Delivered
    error: BaseException | None = None


class InProcess:
    """Implements ``Dispatcher`` over one engine on this event loop.

    ``capacity`` is how many recipients are hinted at once. ``done`` is called after each hint, on the loop;
    the pump uses it to go on at once.
    """

    def __init__(
        self, engine: Deliverer, *, capacity: int | None = None, done: Callable[[Done], None] | None = None
    ) -> None:
        self._engine = engine
        self._capacity = capacity
        self._done = done
        self._running: dict[asyncio.Task[Delivered], Hint] = {}
        self._out: set[int] = set()
        self._closed = False

    def free(self, stream: str = "bulk") -> int:
        if self._closed:
            return 0
        capacity = self._capacity or (BATCHED_CAPACITY if self._engine.batches else CAPACITY)
        return max(0, capacity - len(self._out))

    def outstanding(self) -> frozenset[int]:
        return frozenset(self._out)

    @property
    def running(self) -> int:
        """Hints under way. Two may hold the same rows, so this is not what ``outstanding`` tells."""
        return len(self._running)

    async def dispatch(self, hint: Hint) -> None:
        task = asyncio.create_task(self._engine.deliver(hint.ids))
        self._running[task] = hint
        self._out.update(hint.ids)
        task.add_done_callback(self._finished)

    async def drain(self, seconds: float) -> bool:
        self._closed = True
        self._engine.drain()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        return not self._running

    async def close(self) -> None:
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _finished(self, task: asyncio.Task[Delivered]) -> None:
        hint = self._running.pop(task)
        self._out.difference_update(hint.ids)
        if task.cancelled():
            return
        error = task.exception()
        done = Done(hint, Delivered() if error else task.result(), error)
        if self._done is not None:
            self._done(done)
