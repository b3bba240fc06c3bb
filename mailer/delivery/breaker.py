"""When a backend that is out of order is tried again: a circuit breaker."""

from __future__ import annotations

from enum import StrEnum

SHORTEST_REST = 2.0
LONGEST_REST = 300.0


class Circuit(StrEnum):
    """The usual words: electricity flows through a closed circuit."""

    CLOSED = "closed"  # it works
    OPEN = "open"  # it is left alone
    HALF_OPEN = "half-open"  # one message at a time tells whether it works again


class Breaker:
    """Of one backend in one process; ``circuits`` keeps those of several in step.

    A fault opens it for 2 s; each further one, once that is over, for twice as long, up to 5 minutes.
    Then the next message is the probe: what becomes of it closes the circuit or opens it again.
    ``lasting``: the fault was one that a person has to mend.
    """

    __slots__ = ("_length", "lasting", "reason", "until")

    def __init__(self) -> None:
        self._length = 0.0
        self.until = 0.0
        self.reason = ""
        self.lasting = False

    @property
    def closed(self) -> bool:
        return not self._length

    @property
    def state(self) -> tuple[float, float, bool]:
        """How long it rests this time (0: it works), until when, and whether a person has to mend it."""
        return self._length, self.until, self.lasting

    def adopt(self, length: float, until: float, *, lasting: bool, reason: str) -> None:
        """What another process found."""
        if self.closed:
            self.reason = reason
        self._length, self.until, self.lasting = length, until, lasting

    def close(self) -> None:
        """Another process has found that it works."""
        self._length, self.until, self.lasting = 0.0, 0.0, False

    def circuit(self, now: float) -> Circuit:
        if self.closed:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self.until else Circuit.HALF_OPEN

    def failed(self, now: float, reason: str) -> float:
        """Until when to rest. Failures of calls that began before the rest do not lengthen it."""
        self.reason = reason
        if now >= self.until:
            self.lasting = False
            self._length = min(max(SHORTEST_REST, 2 * self._length), LONGEST_REST)
            self.until = now + self._length
        return self.until

    def stopped(self, now: float, reason: str) -> float:
        """A person has to mend it: until when to rest, which is long."""
        self.reason = reason
        if now >= self.until or not self.lasting:
            self.lasting = True
            self._length = LONGEST_REST
            self.until = now + LONGEST_REST
        return self.until

    def worked(self, now: float) -> None:
        """An answer of a call that began before the rest says nothing about now."""
        if now >= self.until:
            self._length = 0.0
            self.lasting = False

    def forgive(self, now: float) -> None:
        """A person will have mended it: to be tried soon."""
        if self.lasting:
            self.lasting = False
            self._length = SHORTEST_REST
            self.until = now + SHORTEST_REST
