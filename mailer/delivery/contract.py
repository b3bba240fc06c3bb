"""What delivery asks of the parts that differ between one process and many machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Hint:
    """Rows that are due. Losing, doubling or reordering hints changes nothing but time."""

    ids: tuple[int, ...]
    stream: str = "bulk"  # the queue: bulk or transactional


class Dispatcher(Protocol):
    """Brings hints to engines: in this process, in child processes, or over Celery."""

    def free(self, stream: str = "bulk") -> int:
        """How many more recipients may be hinted now without queueing seconds of work. What is outstanding
        of bulk mail takes nothing from transactional mail where the two have queues of their own."""
        ...

    def outstanding(self) -> frozenset[int]:
        """Ids hinted lately that may not have been claimed yet; the pump does not hint them again."""
        ...

    async def dispatch(self, hint: Hint) -> None: ...

    async def drain(self, seconds: float) -> bool:
        """Take no more; wait for what runs. False when something still ran after ``seconds``."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """``granted`` of the messages asked for may go now; the rest not before ``wait`` seconds."""

    granted: int
    wait: float = 0.0


class Limiter(Protocol):
    """Several windows on several keys, taken together, all or nothing per message.

    Every call may raise LimitsUnavailable: then nobody can say what may go. ``urgent`` is transactional
    mail: it may use what is reserved of long windows, and of short ones it gets what comes next.
    """

    async def take(self, keys: Sequence[str], wanted: int, *, urgent: bool = False) -> Grant: ...

    async def available(self, keys: Sequence[str], *, urgent: bool = False) -> Grant:
        """What ``take`` would grant, without taking it: the pump asks before it hints."""
        ...

    async def slow_down(self, key: str, seconds: float | None = None) -> None:
        """The other side asked for less: halve the key's rate; it recovers additively."""
        ...

    async def hear(self) -> None:
        """Learn which keys other processes have slowed down, unless that was asked a moment ago."""
        ...

    async def close(self) -> None:
        """Let go of whatever remembers the limits."""
        ...
