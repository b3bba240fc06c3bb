"""Group commit: what many connections hand over at the same time shares one flush of the disk."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.gateway.message import Handed

log = logging.getLogger(__name__)

#: Messages and octets of one commit. A commit that lasts would keep the workers from theirs.
MOST_AT_ONCE = 200
OCTETS_AT_ONCE = 16_000_000

#: Stores messages durably; for each the reply that it gets.
Store = Callable[[Sequence[Handed]], list[str]]

NOT_NOW = "451 4.3.0 Cannot be stored now, try again"


@dataclass(slots=True, eq=False)
class _Ask:
    handed: Handed
    future: asyncio.Future[str]


class Commits:
    """For one event loop. No timer: the next commit begins when the last has ended, with all that waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Ask] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, handed: Handed) -> asyncio.Future[str]:
        """The reply, when it is true. Never raises."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Ask(handed, future))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        return future

    async def close(self) -> None:
        """Wait for what was handed over."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while self._waiting:
            asks = self._some()
            replies = await self._stored([ask.handed for ask in asks])
            for ask, reply in zip(asks, replies, strict=True):
                if not ask.future.done():  # its client has gone
                    ask.future.set_result(reply)
        self._task = None

    async def _stored(self, handed: Sequence[Handed]) -> list[str]:
        try:
            return await asyncio.to_thread(self._store, handed)
        except Exception:  # whoever waits must be told, whatever it was
            log.exception("messages could not be stored")
            return [NOT_NOW] * len(handed)

    def _some(self) -> list[_Ask]:
        asks = [self._waiting.popleft()]
        octets = len(asks[0].handed.body)
        while self._waiting and len(asks) < MOST_AT_ONCE:
            octets += len(self._waiting[0].handed.body)
            if octets > OCTETS_AT_ONCE:
                break
            asks.append(self._waiting.popleft())
        return asks
