"""Limits shared through the ledger: by all processes over it, and by the next run."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from mailer.delivery.limits.copies import Copy
from mailer.delivery.limits.exchange import Change, Exchanged, Memories, Memory
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

    def when_emptied(self, say: Callable[[], Awaitable[None]]) -> None:
        """A ledger never is."""


class LedgerCopies:
    """Keeps the copy of what Redis remembers. Implements ``filling.Copies``."""

    KEY = "copy-of-redis"

    def __init__(self, writer: GroupCommit) -> None:
        self._store = LedgerStore(writer)

    async def read(self) -> Copy | None:
        """The first reader of all leaves an empty one: there was nothing before it."""

        def change(memories: Memories, now: float) -> tuple[Memories, Memory | None]:
            known = memories.get(self.KEY)
            return ({} if known else {self.KEY: {"at": 0.0, "memories": []}}), known

        known = await self._store.exchange([self.KEY], change)
        if known is None:
            return None
        memories = [(key.encode(), b64decode(packed), end.encode()) for key, packed, end in known["memories"]]
        return Copy(float(known["at"]), memories)

    async def write(self, copy: Copy) -> None:
        memories = [
            (key.decode(), b64encode(packed).decode(), end.decode()) for key, packed, end in copy.memories
        ]

        def change(known: Memories, now: float) -> tuple[Memories, None]:
            if known.get(self.KEY, {}).get("at", 0.0) > copy.at:
                return {}, None
            return {self.KEY: {"at": copy.at, "memories": memories}}, None

        await self._store.exchange([self.KEY], change)


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
