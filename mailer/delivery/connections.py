"""``connections`` is a total: leases on slots that all processes share, renewed each second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from mailer.backends.contract import Backend, SharesConnections
from mailer.delivery.limits.exchange import Memories, Store
from mailer.delivery.limits.shares import LEASE_SECONDS, Asker, Lot, ask
from mailer.errors import LedgerError, LimitsUnavailable

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
#: A backend that wants more is heard at once, but no more often than this.
LEAST_SECONDS = 0.01
#: A lease that cannot be renewed is given up before the others count it as free.
TRUSTED_SECONDS = LEASE_SECONDS - 3.0
#: Where stores that may be emptied say until when others have yet to speak.
FILLING = "filling"


class Connections:
    """The leases of one process. ``start`` on the event loop of its backends; ``close`` gives back all.

    A backend whose connections are no matter of processes is left alone. Without leases, because nobody
    answers, a backend closes what it has: the total holds before the speed.
    """

    def __init__(
        self,
        store: Store,
        backends: Mapping[str, Backend],
        lots: Mapping[str, Lot],
        *,
        name: str,
        stream: str,
    ) -> None:
        self._store = store
        self._lots = lots
        self._name = name
        self._stream = stream
        self._backends = {
            each: backend
            for each, backend in backends.items()
            if each in lots and isinstance(backend, SharesConnections)
        }
        self._shares: dict[str, int] = {}
        self._trusted_until: dict[str, float] = {}
        self._listed: set[str] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._closing = False

    def start(self) -> None:
        for backend in self._backends.values():
            backend.share(self._woken.set)
        if self._backends:
            self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """After the backends: others may have these connections at once."""
        self._closing = True  # up to Python 3.11 ``wait_for`` may swallow a cancellation
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for each in sorted(self._listed):
            with suppress(LimitsUnavailable, LedgerError):
                await self._exchange(each, Asker(self._name, self._stream, 0, 0))

    async def _keep(self) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), ASK_SECONDS)
            self._woken.clear()
            for each, backend in self._backends.items():
                try:
                    await self._renew(each, backend)
                except Exception:  # a keeper that ends without a word would hold its share for ever
                    log.exception("connections of %s: given up until asked for again", each)
                    backend.allow(0)
            await asyncio.sleep(LEAST_SECONDS)

    async def _renew(self, each: str, backend: SharesConnections) -> None:
        """From ``demand`` to ``allow`` the backend opens nothing, so what was said stays true."""
        use = backend.demand()
        if not (use.open or use.wanted or each in self._listed):
            return
        began = time.monotonic()
        try:
            share = await self._exchange(each, Asker(self._name, self._stream, use.open, use.wanted))
        except (LimitsUnavailable, LedgerError) as error:
            if not self._failing:
                log.warning("connections of %s not renewed: %s", each, error)
            self._failing = True
            share = self._shares.get(each, 0) if began < self._trusted_until.get(each, 0.0) else 0
        else:
            self._failing = False
            self._trusted_until[each] = began + TRUSTED_SECONDS
        self._shares[each] = share
        backend.allow(share)

    async def _exchange(self, each: str, asker: Asker) -> int:
        share: int = await self._store.exchange(
            [f"connections:{each}"], partial(self._change, f"connections:{each}", asker, self._lots[each])
        )
        (self._listed.add if asker.open or asker.wanted else self._listed.discard)(each)
        return share

    @staticmethod
    def _change(key: str, asker: Asker, lot: Lot, memories: Memories, now: float) -> tuple[Memories, int]:
        settling = now < memories.get(FILLING, {}).get("open_at", 0.0)
        table, share = ask(memories.get(key, {}), now, asker, lot, settling=settling)
        return {key: table}, share
