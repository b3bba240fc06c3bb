"""When may how many go: the arithmetic of limits, pure.

Two kinds of gate, and a message passes when all gates of all its keys let it:

* a *quota* is the promise: never more than ``count`` in any ``seconds``, whatever was asked when. It keeps
  a log of what was granted, in at most ``SLOTS`` entries per window.
* a *pace* (GCRA) spreads a rate of up to a minute evenly, with a small burst, so that 100/s is not a
  hundred in the first millisecond of each second.

What a gate remembers is plain JSON, so the ledger, Redis and a dict can all keep it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mailer.delivery.limits.rates import Rate

#: Entries in a quota's log. Those of one slot leave together, which costs at most 1/SLOTS of the rate.
SLOTS = 128
#: Rates over longer times may be used up at once.
LONGEST_PACE = 60
#: What came due this lately is not lost for a caller who comes late: a hint over a broker takes tenths of a
#: second to its engine. At a tenth, 200/s came out as 172/s through Celery.
BURST_SECONDS = 0.25
MIN_BURST = 2
#: Messages of this much time make a lot.
LOT_SECONDS = 0.05
#: Asking again sooner than this is not worth the call.
SHORTEST_WAIT = 0.001
#: Transactional mail that has to wait for a window comes back this long after its time at the latest; until
#: then bulk mail takes nothing of that window.
URGENT_SECONDS = 1.0
#: Rounding of times must not cost a message.
EPSILON = 1e-9

#: First grant, last grant, messages.
Slot = tuple[float, float, int]


class Gate(Protocol):
    """``memory`` is what the gate stored last, or None; it is never changed in place."""

    @property
    def name(self) -> str:
        """Unique among the gates of one key."""
        ...

    @property
    def lot(self) -> int:
        """How many are worth waiting for at once: fewer calls, same rate."""
        ...

    def room(self, memory: Any, now: float) -> int: ...

    def wait(self, memory: Any, now: float, wanted: int) -> float:
        """Seconds until there is room for ``wanted``, or for as many as there can ever be."""
        ...

    def after(self, memory: Any, now: float, granted: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """``per_second`` with a burst; remembers when the next message is due in theory."""

    name: str
    per_second: float

    @property
    def burst(self) -> float:
        return max(MIN_BURST, self.per_second * BURST_SECONDS)

    @property
    def lot(self) -> int:
        return max(1, int(self.per_second * LOT_SECONDS))

    def room(self, memory: Any, now: float) -> int:
        ahead = (self._due(memory, now) - now) * self.per_second
        return max(0, math.floor(self.burst - ahead + EPSILON))

    def wait(self, memory: Any, now: float, wanted: int) -> float:
        spared = self.burst - min(wanted, math.floor(self.burst))
        return max(0.0, self._due(memory, now) - spared / self.per_second - now)

    def after(self, memory: Any, now: float, granted: int) -> float:
        return self._due(memory, now) + granted / self.per_second

    def _due(self, memory: Any, now: float) -> float:
        due = now if memory is None else float(memory)
        if due > now + self.burst / self.per_second + EPSILON:
            return now  # the clock was set back; the quota still holds
        return max(due, now)


@dataclass(frozen=True, slots=True)
class Quota:
    """Never more than ``count`` in any ``seconds``.

    Remembers (first, last, granted) per slot, oldest first; a slot counts until ``last`` has left.
    """

    count: int
    seconds: int

    @property
    def name(self) -> str:
        return f"quota:{self.seconds}"

    @property
    def lot(self) -> int:
        return 1

    def room(self, memory: Any, now: float) -> int:
        return max(0, self.count - _granted(self._log(memory, now)))

    def wait(self, memory: Any, now: float, wanted: int) -> float:
        log = self._log(memory, now)
        missing = min(wanted, self.count) - self.count + _granted(log)
        for _, last, granted in log:
            if missing <= 0:
                break
            missing -= granted
            if missing <= 0:
                return float(last) + self.seconds - now
        return 0.0

    def after(self, memory: Any, now: float, granted: int) -> list[Slot]:
        log = self._log(memory, now)
        if log and now - log[-1][0] < self.seconds / SLOTS:
            first, last, before = log[-1]
            return [*log[:-1], (first, max(last, now), before + granted)]
        return [*log, (now, now, granted)]

    def _log(self, memory: Any, now: float) -> list[Slot]:
        """What still counts. What lies further ahead than a window is from before the clock was set back."""
        return [
            (first, last, granted)
            for first, last, granted in memory or ()
            if now < last + self.seconds and last <= now + self.seconds
        ]


def _granted(log: Sequence[Slot]) -> int:
    return sum(slot[2] for slot in log)


def gates(rates: Sequence[Rate]) -> list[Gate]:
    """The gates of one key."""
    quotas: list[Gate] = [Quota(rate.count, rate.seconds) for rate in rates]
    paces: list[Gate] = [
        Pace(f"pace:{rate.seconds}", rate.per_second) for rate in rates if rate.seconds <= LONGEST_PACE
    ]
    return quotas + paces


@dataclass(frozen=True, slots=True)
class Decision:
    """``granted`` now; ask for the rest after ``wait`` seconds, when at least a lot of it may go."""

    granted: int
    wait: float


def decide(gates: Sequence[tuple[Gate, Any]], wanted: int, now: float) -> Decision:
    """All or nothing per message: what passes every gate. ``gates`` come with their memories.

    A gate lets a part of ``wanted`` through only when it makes a lot, so a thousand a second do not
    cost a thousand calls.
    """
    granted = min((_through(gate, memory, wanted, now) for gate, memory in gates), default=wanted)
    rest = wanted - granted
    if not rest:
        return Decision(granted, 0.0)
    after = [(gate, gate.after(memory, now, granted) if granted else memory) for gate, memory in gates]
    wait = max(gate.wait(memory, now, min(rest, gate.lot)) for gate, memory in after)
    return Decision(granted, max(wait, SHORTEST_WAIT))


def time_until(gates: Sequence[tuple[Gate, Any]], wanted: int, now: float) -> float:
    """Seconds until all of ``wanted`` may go, or as many as can ever go at once."""
    return max((gate.wait(memory, now, wanted) for gate, memory in gates), default=0.0)


def _through(gate: Gate, memory: Any, wanted: int, now: float) -> int:
    room = min(wanted, gate.room(memory, now))
    return room if room >= min(wanted, gate.lot) else 0
