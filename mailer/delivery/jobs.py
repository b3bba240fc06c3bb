"""One claimed slice under way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailer.delivery.compositions import Composition
from mailer.delivery.verdicts import Circumstances
from mailer.ledger.contract import Row, Slice
from mailer.ledger.erasing import remains


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one hint came to: rows claimed, and how many of them were tried (given back ones were not)."""

    claimed: int = 0
    spent: int = 0


class Job:
    """Counts down to the last settlement of its slice.

    ``halt`` makes the rows that have not been started go back unspent; those under way finish. ``skew``
    is how far the ledger's clock is ahead of ours: what is written as due must be true on the ledger's.
    ``last`` is done when the settlement asked for last is durable.
    """

    __slots__ = (
        "around",
        "composition",
        "contents",
        "done",
        "fence",
        "halted",
        "last",
        "left",
        "moved",
        "skew",
        "slice",
        "spent",
    )

    def __init__(self, claimed: Slice, composition: Composition, now: float) -> None:
        self.slice = claimed
        self.skew = claimed.now - now
        self.fence = claimed.fence
        self.composition = composition
        #: Finished messages that its rows name, by the name of the blob.
        self.contents: Mapping[str, bytes] = {}
        self.around = Circumstances(
            fence=claimed.fence,
            policy=composition.policy,
            resend_unknown=composition.resend_unknown,
            blocked_seconds=claimed.blocked_seconds,
        )
        self.left = len(claimed.rows)
        self.spent = 0
        #: Rows that do not go where they would usually go, and why.
        self.moved: dict[int, str] = {}
        self.halted = False
        self.last: asyncio.Future[Any] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self.left:
            self.done.set_result(None)

    def remains(self, id_: int) -> str:
        """Of a secret message's cells, if this ends it."""
        return next(remains(row.cells) for row in self.slice.rows if row.id == id_)

    def halt(self) -> None:
        """Give back what has not been started."""
        self.halted = True

    def finished(self, *, spent: bool) -> None:
        """One more row is out of our hands."""
        self.spent += spent
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Something that no outcome describes. The rows stay as they are until the lease runs out: then
        the ledger knows which are provably unsent."""
        self.halted = True
        if not self.done.done():
            self.done.set_exception(error)


#: One row and the slice it belongs to.
Item = tuple[Job, Row]
