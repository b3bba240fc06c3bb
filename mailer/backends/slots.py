"""Turns for requests: as many at once as this process may have connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from mailer.backends.contract import Use
from mailer.backends.share import Share


class Slots:
    """First come, first served, within what ``allow`` grants once ``share`` was called. For one event loop.

    ``open_`` tells how many connections there are, those that rest included.
    """

    def __init__(self, connections: int, open_: Callable[[], int]) -> None:
        self._share = Share(connections)
        self._open = open_
        self._said = connections
        self._busy = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._left = asyncio.Event()
        self._closing = False

    async def enter(self) -> bool:
        """Whether it is one's turn; False: other processes have all connections, let them send."""
        if not self._waiting and self._room() > 0:
            self._busy += 1
            self._share.used(self._busy)
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._share.used(self._busy + len(self._waiting))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()
            raise

    def leave(self) -> None:
        """Whoever entered must."""
        self._busy -= 1
        self._next()
        self._left.set()

    async def close(self) -> None:
        """When everybody has left."""
        self._closing = True
        self._send_home(self._share.most == 0)
        while self._busy or self._waiting:
            self._left.clear()
            await self._left.wait()

    # What shares connections.

    def begin(self, wake: Callable[[], None]) -> None:
        self._share.begin(wake)

    def demand(self) -> Use:
        self._said = max(self._busy, self._open())
        return Use(self._said, self._share.wanted(self._busy + len(self._waiting)))

    def allow(self, most: int) -> None:
        self._share.grant(most)
        self._next()
        now = asyncio.get_running_loop().time()
        starved = self._share.starved(len(self._waiting), max(self._busy, self._open()), now)
        self._send_home(starved or (self._closing and not most))

    def _room(self) -> int:
        """While it is being asked how many there may be, nothing is opened; what is open may be used."""
        most = min(self._share.most, self._said) if self._share.frozen else self._share.most
        return most - self._busy

    def _next(self) -> None:
        while self._waiting and self._room() > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                self._busy += 1
                turn.set_result(True)

    def _send_home(self, them: bool) -> None:
        while them and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(False)
        self._left.set()
