"""Who may have how many of the connections that all processes share, pure.

Each process says what it has open and what it could use, and gets a lease on a fair part. It never gets more
than the others have left free, so the total holds at every moment; whoever has too much gives it back
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Of a process that has not asked for so long, the connections are free: it is dead.
LEASE_SECONDS = 8.0
BULK, TRANSACTIONAL = "bulk", "transactional"


@dataclass(frozen=True, slots=True)
class Lot:
    """The connections of one backend; bulk never holds the last ``reserve`` of them."""

    total: int
    reserve: int = 0

    @property
    def for_bulk(self) -> int:
        return max(1, self.total - self.reserve)


@dataclass(frozen=True, slots=True)
class Asker:
    """A process: what it carries, how many connections it has open, and how many it could use."""

    name: str
    stream: str
    open: int
    wanted: int


def ask(
    memory: Mapping[str, Any], now: float, asker: Asker, lot: Lot, *, settling: bool = False
) -> tuple[dict[str, Any], int]:
    """The table after this, and how many connections the asker may have until its lease ends.

    ``memory`` holds (stream, wanted, held, until) by process. ``settling``: the table is new and others
    have yet to say what they hold, so nobody gets more than is open already.
    """
    others = {name: own for name, own in memory.items() if name != asker.name and own[3] > now}
    wants = {name: (own[0], own[1]) for name, own in others.items()}
    fair = fair_parts({**wants, asker.name: (asker.stream, asker.wanted)}, lot)[asker.name]
    if not any(wanted > held for _, wanted, held, _ in others.values()):
        fair = max(fair, asker.open)  # nobody needs what is idle here
    free = lot.total - sum(held for _, _, held, _ in others.values())
    if asker.stream == BULK:
        free = min(free, lot.for_bulk - sum(own[2] for own in others.values() if own[0] == BULK))
    share = max(0, min(fair, free))
    if settling:
        share = min(share, asker.open)
    held = max(share, asker.open)  # what is too much is closed first
    if held or asker.wanted:
        others[asker.name] = [asker.stream, asker.wanted, held, now + LEASE_SECONDS]
    return others, share


def fair_parts(wants: Mapping[str, tuple[str, int]], lot: Lot) -> dict[str, int]:
    """Everybody the same, nobody more than wanted; bulk together no more than it may. Where somebody must get
    none, that is bulk."""
    bulk = {name: wanted for name, (stream, wanted) in wants.items() if stream == BULK}
    rest = {name: wanted for name, (_, wanted) in wants.items() if name not in bulk}
    if len(wants) > lot.total:
        parts = _level(rest, lot.total)
        return parts | _level(bulk, min(lot.for_bulk, lot.total - sum(parts.values())))
    parts = _level(bulk | rest, lot.total)
    if sum(parts[name] for name in bulk) > lot.for_bulk:
        parts |= _level(bulk, lot.for_bulk) | _level(rest, lot.total - lot.for_bulk)
    return parts


def _level(wants: Mapping[str, int], total: int) -> dict[str, int]:
    parts: dict[str, int] = {}
    for left, (name, wanted) in zip(
        range(len(wants), 0, -1), sorted(wants.items(), key=lambda own: (own[1], own[0])), strict=True
    ):
        parts[name] = min(wanted, (total - sum(parts.values())) // left)
    return parts
