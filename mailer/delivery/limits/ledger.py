"""Limits shared through the ledger: by all processes over it, and by the next run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from mailer.delivery.limits.exchange import Change, Exchanged
from mailer.delivery.limits.limiter import PATIENCE, GrantLog, WindowLimiter
from mailer.delivery.limits.plan import Limits
from mailer.ledger.writer import GroupCommit

T = TypeVar("T")


class LedgerStore:
    """Exchanges run on the ledger's writer thread, between its other commits."""

    def __init__(self, writer: GroupCommit) -> None:
        self._writer = writer

    async def exchange(self, keys: Sequence[str], change: Change[T]) -> T:
        return await self._writer.run(lambda ledger: ledger.buckets.exchange(keys, change))


class LedgerLimiter(WindowLimiter):
    """The Limiter of every process that has a ledger and no Redis."""

    def __init__(
        self,
        limits: Limits,
        writer: GroupCommit,
        *,
        patience: float = PATIENCE,
        grant_log: GrantLog | None = None,
    ) -> None:
        super().__init__(limits, Exchanged(LedgerStore(writer)), patience=patience, grant_log=grant_log)
