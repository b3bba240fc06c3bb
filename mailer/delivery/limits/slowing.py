"""Going slower when the other side asks: halve at once, recover a little at a time, pure.

Works on any key. What was observed lately stands in for the full rate until it has recovered, or the key's
own rate where that is lower. Each process knows what it did itself: the one that was asked begins, and the
others add theirs when they hear of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailer.delivery.limits.windows import Gate, Pace

#: Replies to what was already under way when the first one came must not halve the rate again.
COOLDOWN_SECONDS = 10.0
#: Of the full rate, per second: from half to full in five minutes.
RECOVERY = 0.1 / 60
#: Who has heard of it so late adds nothing: what it does is no longer what it did.
JOIN_SECONDS = 30.0
#: Slower than this it makes no sense to halve: one message a minute.
LEAST_PER_SECOND = 1 / 60
#: Stands in for a rate that nobody set and nobody has seen yet.
UNSEEN_PER_SECOND = 10.0

#: Where a key keeps what this module remembers.
MEMORY = "slowed"
#: The gates that it adds.
NAMES = ("hold", "pace:slowed")


@dataclass(frozen=True, slots=True)
class Part:
    """What one process did with a key lately, in messages per second; 0: nothing. ``rate`` is the key's own
    one, the same for all of them; 0: it has none."""

    process: str
    flow: float
    rate: float = 0.0


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


def halved(memory: Any, now: float, part: Part, seconds: float | None) -> dict[str, Any]:
    """What to remember after a request to slow down."""
    hold = now + seconds if seconds else 0.0
    if memory is None or _factor(memory, now) >= 1:
        begun = {
            "factor": 0.5,
            "at": now,
            "until": hold,
            "since": now,
            "flow": part.flow,
            "by": [part.process],
        }
        return {**begun, "full": _full(part.flow, part.rate)}
    memory = joined(memory, now, part)
    hold = max(hold, float(memory["until"]))
    if now - memory["at"] < COOLDOWN_SECONDS:
        return {**memory, "until": hold}
    least = LEAST_PER_SECOND / memory["full"]
    return {**memory, "factor": max(least, _factor(memory, now) / 2), "at": now, "until": hold}


def joined(memory: Any, now: float, part: Part) -> Any:
    """What to remember when this process has heard of it; the same when it has nothing to add."""
    late = memory is None or now >= memory.get("since", -JOIN_SECONDS) + JOIN_SECONDS
    if late or part.flow <= 0 or part.process in memory["by"]:
        return memory
    flow, by = memory["flow"] + part.flow, [*memory["by"], part.process]
    return {**memory, "flow": flow, "by": by, "full": _full(flow, part.rate)}


def _full(flow: float, rate: float) -> float:
    known = [one for one in (flow, rate) if one > 0]
    return max(min(known, default=UNSEEN_PER_SECOND), 2 * LEAST_PER_SECOND)


def ends(memory: dict[str, Any]) -> float:
    """When the key has recovered, if nothing more is asked for."""
    return float(max(memory["at"], memory["until"]) + (1 - memory["factor"]) / RECOVERY)


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
