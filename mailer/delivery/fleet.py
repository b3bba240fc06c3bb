"""The backends of one engine: opened when a campaign first names them, heard of, and closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from mailer.backends.contract import Backend
from mailer.delivery.breaker import Circuit
from mailer.delivery.carrier import PAUSED_SECONDS, Carrier
from mailer.delivery.circuits import Circuits
from mailer.delivery.jobs import Item
from mailer.delivery.routes import Route, Router
from mailer.errors import ConfigError

Carry = Callable[[Carrier, Sequence[Item]], Awaitable[None]]
#: For backends to begin closing, when nothing is waited for.
ABORT_SECONDS = 0.1


def not_set_up(name: str) -> Backend:
    """For engines that have only the backends they were given."""
    raise ConfigError(f"the campaign wants backend {name!r}, which is not set up")


class Fleet:
    """Each backend with its carrier, and the router over them. Carries from ``start`` on.

    ``connect`` makes a backend that a campaign names and ``backends`` lacks, or raises ConfigError. A
    campaign may name one of ``routes`` in place of a backend.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        connect: Callable[[str], Backend] = not_set_up,
        routes: Mapping[str, Route] | None = None,
        circuits: Circuits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backends = backends
        self._connect = connect
        self._circuits = circuits
        self._clock = clock
        self._carriers: dict[str, Carrier] = {}
        self._paused_until = 0.0
        self.router = Router(routes or {}, self._carriers, clock)

    def __getitem__(self, name: str) -> Carrier:
        return self._carriers[name]

    def start(self, carry: Carry) -> None:
        """``carry`` is what the workers of all carriers do."""
        self._carry = carry
        for name, backend in self._backends.items():
            self._add(name, backend)

    def open(self, name: str) -> None:
        """A backend, or all of a route. Raises ConfigError for one that is not set up."""
        for each in self.router.route(name).backends:
            if each not in self._carriers:
                self._add(each, self._connect(each))

    @property
    def batches(self) -> bool:
        """One that is open takes many messages in one request."""
        return any(carrier.batch > 1 for carrier in self._carriers.values())

    def circuits(self) -> Mapping[str, Circuit]:
        """Of each backend that is open in this process: whether it works, rests, or is being tested."""
        now = self._clock()
        return {name: carrier.breaker.circuit(now) for name, carrier in self._carriers.items()}

    def _add(self, name: str, backend: Backend) -> None:
        self._carriers[name] = Carrier(name, backend, self._carry, self._clock, self._circuits)

    # A person may pause a backend.

    @property
    def stale(self) -> bool:
        """What was heard of that is too old."""
        return self._clock() >= self._paused_until

    def heard(self, paused: Collection[str]) -> None:
        now = self._clock()
        self._paused_until = now + PAUSED_SECONDS
        for name, carrier in self._carriers.items():
            carrier.heard(now, paused=name in paused)

    # The end.

    def wake(self) -> None:
        for carrier in self._carriers.values():
            carrier.wake()

    async def close(self) -> None:
        await asyncio.gather(*(carrier.close() for carrier in self._carriers.values()))

    def abort(self) -> None:
        """Whatever is under way. The backends are to be closed after it."""
        for carrier in self._carriers.values():
            carrier.abort()

    async def begin_closing(self) -> None:
        """So that nothing is opened any more; what is on the wire is not waited for."""
        closing = [asyncio.create_task(carrier.backend.close()) for carrier in self._carriers.values()]
        if closing:
            _, late = await asyncio.wait(closing, timeout=ABORT_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)
