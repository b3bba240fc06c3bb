"""How many connections a backend may have, when other processes have some of the same."""

from __future__ import annotations

from collections.abc import Callable

#: Messages that found no connection for so long are given back: other processes have all of them.
STARVED_SECONDS = 5.0


class Share:
    """All of ``connections`` until ``begin``; after that what ``most`` is set to."""

    def __init__(self, connections: int) -> None:
        self.most = connections
        #: Nothing is opened while it is being asked how many there may be.
        self.frozen = False
        self._connections = connections
        self._wake: Callable[[], None] | None = None
        self._hungry = False
        self._peak = self._wanted = 0
        self._starved_at: float | None = None

    def begin(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.most = 0

    @property
    def short(self) -> bool:
        """Others have some of the connections."""
        return self.most < self._connections and not self.frozen

    def used(self, busy: int) -> None:
        """So many could be in use at once now. Says so at once, the first time that it is too many."""
        self._peak = max(self._peak, min(busy, self._connections))
        if self._peak > self.most and not self._hungry and self._wake is not None:
            self._hungry = True
            self._wake()

    def wanted(self, busy: int) -> int:
        """The most that could have been in use since asked last. Frozen until ``grant``."""
        self.frozen = True
        self._wanted = max(self._peak, min(busy, self._connections))
        self._peak = 0
        return self._wanted

    def grant(self, most: int) -> None:
        """Who got all it wanted may say at once that it wants more; others have said so."""
        self.frozen = False
        self.most = most
        self._hungry = self._wanted > most

    def starved(self, waiting: int, open_: int, now: float) -> bool:
        """Whether messages have waited for the first connection for too long."""
        if not waiting or open_ or self.most:
            self._starved_at = None
            return False
        if self._starved_at is None:
            self._starved_at = now
        return now - self._starved_at >= STARVED_SECONDS
