"""How fast a run is, over the last seconds."""

from __future__ import annotations

from collections import deque

from mailer.ledger.contract import Counts
from mailer.message import FINAL, State

#: The rate is that of so many seconds: long enough to be calm, short enough to show a stall.
WINDOW_SECONDS = 5.0


class Pace:
    """Recipients brought to a final state or put off by the other side, per second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def per_second(self, counts: Counts, now: float) -> float:
        """``now`` on any clock that only goes forward; call it regularly."""
        settled = sum(n for state, n in counts.states.items() if state in FINAL or state is State.DEFERRED)
        self._seen.append((now, settled))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        return max(0.0, (settled - before) / (now - began)) if now > began else 0.0
