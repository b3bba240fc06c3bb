"""Which backends are out of order, as all processes know it: one finds out, and one tries again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mailer.delivery.breaker import Breaker, Circuit
from mailer.delivery.limits.exchange import Memories, Store
from mailer.errors import LedgerError, LimitsUnavailable
from mailer.logs import redacted

log = logging.getLogger(__name__)

KEY = "circuits"
#: How often a process hears what the others found.
LOOK_SECONDS = 1.0
#: Whoever tries a backend again has so long; after that another one may.
PROBE_SECONDS = 30.0
#: While another process tries it, one's own rows wait for so long.
WAIT_SECONDS = 1.0
#: Clocks and calls are not exact; less than this is no news.
SAME_SECONDS = 0.5
#: Of what a server said so much is shared; it may quote addresses, and those are taken out.
LONGEST_REASON = 200
#: Where the other process is an older version.
REASON = "another process found it out of order"

Shared = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Broken:
    """A circuit that is not closed, as all processes know it: since when, and until when it rests or has
    rested. Times are the store's."""

    circuit: Circuit
    since: float
    until: float
    reason: str


def broken(memory: Shared, now: float) -> dict[str, Broken]:
    """By backend, out of what is remembered under ``KEY``."""
    return {
        backend: Broken(
            Circuit.OPEN if now < known["until"] else Circuit.HALF_OPEN,
            known.get("since", known["until"] - known["length"]),
            known["until"],
            known.get("reason") or REASON,
        )
        for backend, known in memory.items()
    }


class Circuits:
    """The breakers of one process, kept in step with those of the others over a store.

    While the store does not answer each process goes by what it finds itself. For one event loop.
    """

    def __init__(self, store: Store, *, name: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._said: dict[str, tuple[float, float, bool]] = {}  # the state that the others know
        self._probing: set[str] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._closing = False

    def add(self, backend: str, breaker: Breaker) -> None:
        self._breakers[backend] = breaker
        self._said[backend] = breaker.state

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    def wake(self) -> None:
        """A breaker of this process has changed."""
        self._woken.set()

    async def close(self) -> None:
        self._closing = True  # up to Python 3.11 ``wait_for`` may swallow a cancellation
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def may_probe(self, backend: str) -> bool:
        """Whether this process is to try it now; it says ``probed`` then.

        False: another one does, or has, and the breaker knows.
        """
        try:
            mine = await self._store.exchange([KEY], lambda found, now: self._claim(backend, found, now))
        except (LimitsUnavailable, LedgerError):
            mine = True
        if mine:
            self._probing.add(backend)
        return mine

    def probed(self, backend: str) -> None:
        """It was tried; what came of it the breaker knows."""
        self._probing.discard(backend)
        self.wake()

    async def look(self) -> None:
        """Say what changed here, and hear what changed elsewhere."""
        try:
            await self._store.exchange([KEY], self._exchange)
            self._failing = False
        except (LimitsUnavailable, LedgerError) as error:
            if not self._failing:
                log.warning("circuits not shared: %s", error)
            self._failing = True

    async def _keep(self) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_SECONDS)
            self._woken.clear()
            try:
                await self.look()
            except Exception:  # a keeper that ends without a word would never hear of a recovery
                log.exception("circuits not shared")

    def _claim(self, backend: str, found: Memories, now: float) -> tuple[Memories, bool]:
        shared = dict(found.get(KEY, {}))
        known = shared.get(backend)
        if known is None or self._said[backend] != self._breakers[backend].state:
            return {}, True
        prober, until = known.get("probe") or (self._name, now)
        if known["until"] <= now and (prober == self._name or until <= now):
            shared[backend] = {**known, "probe": [self._name, now + PROBE_SECONDS]}
            return {KEY: shared}, True
        wait = known["until"] - now if known["until"] > now else WAIT_SECONDS
        self._adopt(backend, known, wait)
        return {}, False

    def _exchange(self, found: Memories, now: float) -> tuple[Memories, None]:
        before = found.get(KEY, {})
        shared = dict(before)
        for backend, breaker in self._breakers.items():
            known = shared.get(backend)
            if breaker.state != self._said[backend]:
                self._say(shared, backend, now)
            elif known is None:
                breaker.close()
                self._said[backend] = breaker.state
            elif (known.get("probe") or [""])[0] == self._name and backend not in self._probing:
                shared[backend] = {**known, "probe": None}  # it came to nothing; another one may
            elif self._differs(breaker, known, now):
                self._adopt(backend, known, known["until"] - now)
        return ({} if shared == before else {KEY: shared}), None

    def _say(self, shared: dict[str, Any], backend: str, now: float) -> None:
        breaker = self._breakers[backend]
        length, until, lasting = self._said[backend] = breaker.state
        before = shared.pop(backend, {})
        if not breaker.closed:
            shared[backend] = {
                "length": length,
                "until": now + until - self._clock(),
                "lasting": lasting,
                "since": before.get("since", now),
                "reason": redacted(breaker.reason)[:LONGEST_REASON],
            }

    def _differs(self, breaker: Breaker, known: Shared, now: float) -> bool:
        length, until, lasting = breaker.state
        later = known["until"] - now > until - self._clock() + SAME_SECONDS
        return (length, lasting) != (known["length"], known["lasting"]) or later

    def _adopt(self, backend: str, known: Shared, wait: float) -> None:
        breaker = self._breakers[backend]
        reason = known.get("reason") or REASON
        breaker.adopt(known["length"], self._clock() + wait, lasting=known["lasting"], reason=reason)
        self._said[backend] = breaker.state
