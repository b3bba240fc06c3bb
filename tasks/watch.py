"""Notices a worker that has stopped fetching although hints wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.errors import BrokerUnavailable
from mailer.publisher import Publisher


class Stalled(Exception):
    """Connected as it seems, and deaf: only a new process helps."""


@dataclass(slots=True)
class Patience:
    """Decides from what is seen; a busy worker, or one whose queues are empty, is never stalled."""

    seconds: float
    _since: float | None = None
    _taken: int = -1

    def exhausted(self, *, taken: int, busy: bool, waiting: int, now: float) -> bool:
        if busy or not waiting or taken != self._taken or self._since is None:
            self._since, self._taken = now, taken
        return now - self._since >= self.seconds


class Watch:
    """Asks the broker on a connection of its own, because the consumer's may be the one that is dead."""

    def __init__(
        self,
        publisher: Publisher,
        queues: Sequence[str],
        taken: Callable[[], tuple[int, bool]],
        seconds: float,
    ) -> None:
        """``taken``: hints fetched so far, and whether one is being worked on."""
        self._publisher = publisher
        self._queues = queues
        self._taken = taken
        self._patience = Patience(seconds)
        self._every = seconds / 6

    async def run(self) -> None:
        """Raises Stalled."""
        while True:
            await asyncio.sleep(self._every)
            try:
                waiting = await asyncio.to_thread(self._publisher.waiting, self._queues)
            except BrokerUnavailable:
                waiting = 0  # nobody can fetch anything
            taken, busy = self._taken()
            if self._patience.exhausted(taken=taken, busy=busy, waiting=waiting, now=time.monotonic()):
                raise Stalled
