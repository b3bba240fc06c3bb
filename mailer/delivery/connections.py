"""``connections`` is a total: leases on slots that all processes share, renewed each second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from mailer.backends.contract import Backend, SharesConnections
from mailer.delivery.limits.exchange import Memories, SharedStore
from mailer.delivery.limits.shares import LEASE_SECONDS, Asker, Lot, ask
from mailer.errors import LedgerError, LimitsUnavailable

log = logging.getLogger(__name__)

#: How often a process says what it has; and while others have yet to speak, so that it goes on with the last.
ASK_SECONDS, SETTLING_SECONDS = 1.0, 0.1
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
        store: SharedStore,
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
        self._said: list[asyncio.Future[None]] = []
        self._settling = False
        self._task: asyncio.Task[None] | None = None
        self._failing: set[str] = set()
        self._closing = False

    def start(self) -> None:
        for backend in self._backends.values():
            backend.share(self._woken.set)
        if self._backends:
            self._task = asyncio.create_task(self._keep())
            self._store.when_emptied(self._say_anew)

    async def close(self) -> None:
        """After the backends: others may have these connections at once."""
        self._closing = True  # up to Python 3.11 ``wait_for`` may swallow a cancellation
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for each in sorted(self._listed):
            with suppress(LimitsUnavailable, LedgerError):
                await self._exchange(each, Asker(self._name, self._stream, 0, 0))
        self._answer(self._said)

    async def _keep(self) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                pause = SETTLING_SECONDS if self._settling else ASK_SECONDS
                await asyncio.wait_for(self._woken.wait(), pause)
            self._woken.clear()
            self._settling = False
            asked = list(self._said)
            for each, backend in self._backends.items():
                try:
                    await self._renew(each, backend)
                except Exception:  # a keeper that ends without a word would hold its share for ever
                    log.exception("connections of %s: given up until asked for again", each)
                    self._failing.add(each)
                    backend.allow(0)
            self._answer(asked)
            await asyncio.sleep(LEAST_SECONDS)

    async def _say_anew(self) -> None:
        """Returns when the store knows of every connection that is open here."""
        if self._closing:
            return
        said: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._said.append(said)
        self._woken.set()
        await said
        if self._failing:
            raise LimitsUnavailable("the open connections are not said yet")

    def _answer(self, asked: Sequence[asyncio.Future[None]]) -> None:
        for said in asked:
            if not said.done():
                said.set_result(None)
        self._said = [said for said in self._said if not said.done()]

    async def _renew(self, each: str, backend: SharesConnections) -> None:
        """From ``demand`` to ``allow`` the backend opens nothing, so what was said stays true."""
        use = backend.demand()
        if not (use.open or use.wanted or each in self._listed):
            self._failing.discard(each)
            return
        began = time.monotonic()
        try:
            share = await self._exchange(each, Asker(self._name, self._stream, use.open, use.wanted))
        except (LimitsUnavailable, LedgerError) as error:
            if each not in self._failing:
                log.warning("connections of %s not renewed: %s", each, error)
            self._failing.add(each)
            share = self._shares.get(each, 0) if began < self._trusted_until.get(each, 0.0) else 0
        else:
            self._failing.discard(each)
            self._trusted_until[each] = began + TRUSTED_SECONDS
        self._shares[each] = share
        backend.allow(share)

    async def _exchange(self, each: str, asker: Asker) -> int:
        key = f"connections:{each}"
        change = partial(self._change, key, asker, self._lots[each])
        share, settling = await self._store.exchange([key], change)
        self._settling |= settling
        (self._listed.add if asker.open or asker.wanted else self._listed.discard)(each)
        return share

    @staticmethod
    def _change(
        key: str, asker: Asker, lot: Lot, memories: Memories, now: float
    ) -> tuple[Memories, tuple[int, bool]]:
        settling = now < memories.get(FILLING, {}).get("open_at", 0.0)
        table, share = ask(memories.get(key, {}), now, asker, lot, settling=settling)
        return {key: table}, (share, settling)
