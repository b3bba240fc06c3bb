"""Going slower when the other side asks: halve at once, recover a little at a time, pure.

Works on any key. One with a limit of its own is slowed below it; for one without, what was observed lately
stands in for the limit until it has recovered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailer.delivery.limits.windows import Gate, Pace

#: Replies to what was already under way when the first one came must not halve the rate again.
COOLDOWN_SECONDS = 10.0
#: Of the full rate, per second: from half to full in five minutes.
RECOVERY = 0.1 / 60
#: Slower than this it makes no sense to halve: one message a minute.
LEAST_PER_SECOND = 1 / 60
#: Stands in for a rate that nobody set and nobody has seen yet.
UNSEEN_PER_SECOND = 10.0

#: Where a key keeps what this module remembers.
MEMORY = "slowed"
#: The gates that it adds.
NAMES = ("hold", "pace:slowed")


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing before ``until``: the other side named a time."""

    until: float
    name: str = "hold"

    @property
    def lot(self) -> int:
        return 1

    def room(self, memory: Any, now: float) -> int:
        return 0 if now < self.until else 1 << 62

    def wait(self, memory: Any, now: float, wanted: int) -> float:
        return max(0.0, self.until - now)

    def after(self, memory: Any, now: float, granted: int) -> Any:
        return memory


def halved(memory: Any, now: float, full: float, seconds: float | None) -> dict[str, float]:
    """What to remember after a request to slow down; ``full`` is the rate per second until now."""
    hold = now + seconds if seconds else 0.0
    if memory is None or _factor(memory, now) >= 1:
        full = max(full, 2 * LEAST_PER_SECOND)
        return {"full": full, "factor": 0.5, "at": now, "until": hold}
    hold = max(hold, float(memory["until"]))
    if now - memory["at"] < COOLDOWN_SECONDS:
        return {**memory, "until": hold}
    least = LEAST_PER_SECOND / memory["full"]
    return {**memory, "factor": max(least, _factor(memory, now) / 2), "at": now, "until": hold}


def ends(memory: dict[str, float]) -> float:
    """When the key has recovered, if nothing more is asked for."""
    return max(memory["at"], memory["until"]) + (1 - memory["factor"]) / RECOVERY


def gates(memory: Any, now: float) -> list[Gate]:
    """None at all once the key has recovered."""
    if memory is None:
        return []
    found: list[Gate] = [Hold(memory["until"])] if now < memory["until"] else []
    factor = _factor(memory, now)
    if factor < 1:
        found.append(Pace("pace:slowed", memory["full"] * factor))
    return found


def _factor(memory: Any, now: float) -> float:
    """Recovery starts when the other side's own time is over."""
    quiet = max(0.0, now - max(memory["at"], memory["until"]))
    return float(memory["factor"] + RECOVERY * quiet)
