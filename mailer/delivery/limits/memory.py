"""Limits of one process alone, which end with it: for tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from mailer.delivery.limits.exchange import Change, Exchanged
from mailer.delivery.limits.limiter import PATIENCE, GrantLog, WindowLimiter
from mailer.delivery.limits.plan import Limits

T = TypeVar("T")


class MemoryStore:
    """Forgets everything with the process. Keeps JSON, as the stores that last do."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._memories: dict[str, str] = {}

    async def exchange(self, keys: Sequence[str], change: Change[T]) -> T:
        found = {key: json.loads(self._memories[key]) for key in keys if key in self._memories}
        changed, result = change(found, self._clock())
        self._memories.update({key: json.dumps(memory) for key, memory in changed.items()})
        return result


class MemoryLimiter(WindowLimiter):
    """A Limiter that shares with nobody."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        grant_log: GrantLog | None = None,
    ) -> None:
        super().__init__(limits, Exchanged(MemoryStore(clock)), patience=patience, grant_log=grant_log)
