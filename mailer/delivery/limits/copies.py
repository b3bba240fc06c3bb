"""What outlives Redis: a copy of the long memories, kept elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Copy:
    """What must outlive Redis: (key, what it remembers, when that ends), as it was at ``at``."""

    at: float
    memories: Sequence[tuple[bytes, bytes, bytes]]


class Copies(Protocol):
    """Where the copy is kept. Both raise LedgerError."""

    async def read(self) -> Copy | None:
        """None the first time of all; from then on there is one."""
        ...

    async def write(self, copy: Copy) -> None:
        """Keep it, unless there is a later one."""
        ...
