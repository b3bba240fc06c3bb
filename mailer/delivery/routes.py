"""Which backend carries which row, when a campaign may use several."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from mailer.delivery.carrier import WORKS, Carrier, Resting
from mailer.ledger.contract import Row

#: Rows of which is known that a backend failed them; the oldest is forgotten first.
KEPT = 10_000
#: While one message tests a backend the others go elsewhere, or wait for so long.
TEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Route:
    """Backends by the name that campaigns use. Without ``weights`` the first that works is used."""

    name: str
    backends: tuple[str, ...]
    weights: tuple[int, ...] = ()

    def order(self, row_id: int) -> tuple[str, ...]:
        """Which to try first for this row, the same on every attempt and in every process.

        By weight it is a draw that depends on the row alone, so that the rows of a backend that rests are
        spread over the others by their weights (weighted rendezvous hashing).
        """
        if not self.weights:
            return self.backends
        drawn = zip(self.backends, self.weights, strict=True)
        return tuple(name for name, _ in sorted(drawn, key=lambda one: _draw(row_id, *one)))


def _draw(row_id: int, backend: str, weight: int) -> float:
    """Exponentially distributed with ``weight`` as its rate: the smallest of several wins by weight."""
    digest = blake2b(f"{row_id} {backend}".encode(), digest_size=8).digest()
    even = (int.from_bytes(digest, "big") + 1) / 2**64
    return -math.log(even) / weight


@dataclass(frozen=True, slots=True)
class Way:
    """``backend`` None: not before ``until``. ``why``: what keeps the row off those before this one."""

    backend: str | None
    why: str = ""
    until: float = 0.0


class Router:
    """Chooses among the carriers of one engine. A backend that is no route is a route of its own."""

    def __init__(
        self, routes: Mapping[str, Route], carriers: Mapping[str, Carrier], clock: Callable[[], float]
    ) -> None:
        self._routes = routes
        self._carriers = carriers
        self._clock = clock
        self._failed: OrderedDict[int, dict[str, str]] = OrderedDict()

    def route(self, name: str) -> Route:
        return self._routes.get(name) or Route(name, (name,))

    def resting(self, name: str) -> Resting:
        """Of a route the backend whose rest ends first, and what is the matter with each of them."""
        now = self._clock()
        names = self.route(name).backends
        rests = [self._resting(backend, now) for backend in names]
        first = min(rests, key=lambda rest: rest.until, default=WORKS)
        if first.until <= now or len(rests) == 1:
            return first
        return Resting(first.until, _each(names, rests))

    def leading(self, name: str) -> str:
        """The backend over which a route in order sends now; a route by weight has none, and is itself."""
        route = self.route(name)
        if route.weights:
            return name
        now = self._clock()
        return next(
            (one for one in route.backends if self._resting(one, now).until <= now), route.backends[0]
        )

    def choose(self, name: str, row: Row, probes: set[str]) -> Way:
        """The way of this row. ``probes``: backends that get their one test message in this round already.

        A row goes on where it was tried: greylisting waits for the same sender. One that may have been sent
        never goes elsewhere.
        """
        now = self._clock()
        route = self.route(name)
        order = route.order(row.id)
        if row.backend in order and row.backend != order[0]:
            order = (row.backend, *(other for other in order if other != row.backend))
        why, until = "", math.inf
        for backend in order[:1] if row.unsure else order:
            obstacle = self._obstacle(backend, row.id, now, probes)
            if obstacle.until <= now:
                return Way(backend, why)
            why = why or f"Not over {backend}: {obstacle.reason}."
            until = min(until, obstacle.until)
        if math.isinf(until):  # each was tried in vain: once more from the beginning
            self.forget(row.id)
            return Way(order[0], why)
        return Way(None, why, until)

    def goes_on(self, name: str, row_id: int, without: str) -> bool:
        """Whether another backend of this route works now, for this row."""
        now = self._clock()
        return any(
            self._obstacle(backend, row_id, now).until <= now
            for backend in self.route(name).backends
            if backend != without
        )

    def is_left(self, name: str, without: str) -> bool:
        """Whether this route has another backend that works, or will without a person's help."""
        now = self._clock()
        others = (self._carriers[one] for one in self.route(name).backends if one != without)
        return any(not other.breaker.lasting and other.paused_until <= now for other in others)

    def reasons(self, name: str) -> str:
        """What is the matter with each backend of this route."""
        now = self._clock()
        names = self.route(name).backends
        return _each(names, [self._resting(backend, now) for backend in names])

    def failed(self, row_id: int, backend: str, reason: str) -> None:
        """This backend did not take this row, for no reason of the row's: the others are asked first."""
        self._failed.setdefault(row_id, {})[backend] = reason
        if len(self._failed) > KEPT:
            self._failed.popitem(last=False)

    def forget(self, row_id: int) -> None:
        self._failed.pop(row_id, None)

    def forgive(self, name: str) -> None:
        """A person is asked to mend these backends; then they are tried at once."""
        for backend in self.route(name).backends:
            self._carriers[backend].breaker.forgive(self._clock())

    def _resting(self, backend: str, now: float) -> Resting:
        carrier = self._carriers.get(backend)
        return WORKS if carrier is None else carrier.resting(now)

    def _obstacle(self, backend: str, row_id: int, now: float, probes: set[str] | None = None) -> Resting:
        carrier = self._carriers[backend]
        resting = carrier.resting(now)
        if resting.until > now:
            return resting
        if reason := self._failed.get(row_id, {}).get(backend):
            return Resting(math.inf, reason)
        if carrier.breaker.closed:
            return WORKS
        if carrier.testing(now) or (probes is not None and backend in probes):
            return Resting(now + TEST_SECONDS, f"it is tried again after: {carrier.breaker.reason}")
        if probes is not None:
            probes.add(backend)
        return WORKS


def _each(names: tuple[str, ...], rests: list[Resting]) -> str:
    return "; ".join(f"backend {name!r}: {rest.reason}" for name, rest in zip(names, rests, strict=True))
