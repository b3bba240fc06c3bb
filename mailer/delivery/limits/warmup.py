"""So many a day at first, then more: a new sender's ramp, pure.

A step is a *sending day*: a day (UTC) on which nothing went out does not advance the ramp, so a pause
does not end in a jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

#: Where a key keeps which day it is in, at which step, and what it has sent.
NAME = "warmup"
DAY_SECONDS = 86_400
_ALL = 1 << 31


@dataclass(frozen=True, slots=True)
class Warmup:
    """A gate, as those of ``windows``: ``schedule`` holds the messages of each sending day."""

    schedule: tuple[int, ...]

    @property
    def name(self) -> str:
        return NAME

    @property
    def lot(self) -> int:
        return 1

    def room(self, memory: Any, now: float) -> int:
        _, step, sent = self._today(memory, now)
        return max(0, self.schedule[step] - sent) if step < len(self.schedule) else _ALL

    def wait(self, memory: Any, now: float, wanted: int) -> float:
        """Until the next day, whatever that one may bring."""
        day, step, _ = self._today(memory, now)
        most = min(wanted, self.schedule[step]) if step < len(self.schedule) else wanted
        return 0.0 if self.room(memory, now) >= most else (day + 1) * DAY_SECONDS - now

    def after(self, memory: Any, now: float, granted: int) -> list[int]:
        day, step, sent = self._today(memory, now)
        return [day, step, sent + granted]

    def _today(self, memory: Any, now: float) -> tuple[int, int, int]:
        """Day, step, sent. A clock that was set back stays in the last day it knew."""
        today = math.floor(now / DAY_SECONDS)
        if memory is None:
            return today, 0, 0
        day, step, sent = memory
        if today <= day:
            return day, step, sent
        return today, step + (sent > 0), 0
