"""Which limits hold for which message."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mailer.delivery.limits.rates import Rate, parse_all
from mailer.delivery.limits.windows import LONGEST_PACE
from mailer.errors import ConfigError

#: Lanes whose flow is watched at once. Beyond that the one not seen for longest is forgotten.
WATCHED = 1024
_SPAN = 10.0


@dataclass(frozen=True, slots=True)
class WarmupPlan:
    """Messages per sending day, for a backend as a whole and for some of its recipients."""

    schedule: tuple[int, ...] = ()
    lanes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    domains: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BackendRates:
    """The rates of one backend as the settings give them; lanes and domains are the recipients'."""

    rates: tuple[str, ...] = ()
    lanes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warmup: WarmupPlan = WarmupPlan()
    reserve: float = 0.0  # what bulk mail may not take of a window of more than a minute: a share


@dataclass(frozen=True, slots=True)
class SenderRates:
    """The rates of one sender domain, over all backends."""

    rates: tuple[str, ...] = ()
    reserve: float = 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one key: its rates, and the messages of its sending days while it warms up."""

    rates: tuple[Rate, ...] = ()
    warmup: tuple[int, ...] = ()
    reserve: float = 0.0

    @property
    def for_bulk(self) -> Terms:
        """What bulk mail may use: of long windows, whose end nobody can wait for, not the last part."""
        if not self.reserve or not self.long:
            return self
        rates = tuple(
            replace(rate, count=_unreserved(rate.count, self.reserve))
            if rate.seconds > LONGEST_PACE
            else rate
            for rate in self.rates
        )
        return Terms(rates, tuple(_unreserved(step, self.reserve) for step in self.warmup))

    @property
    def long(self) -> bool:
        """Whether some of it must outlive a restart of what remembers it."""
        return bool(self.warmup) or any(rate.seconds > LONGEST_PACE for rate in self.rates)

    def as_json(self) -> dict[str, object]:
        rates = [(rate.count, rate.seconds) for rate in self.rates]
        own: dict[str, object] = {"rates": rates, "warmup": self.warmup}
        bulk = self.for_bulk
        return own if bulk is self else {**own, "bulk": bulk.as_json()}


def _unreserved(count: int, reserve: float) -> int:
    """Somebody who has only bulk mail must be able to send something."""
    return max(1, count - int(count * reserve))


class Limits:
    """From a message to the keys that limit it, and from a key to its rates.

    Raises ConfigError for a rate that cannot be read, with the setting's name. One per process; not
    thread-safe.
    """

    def __init__(
        self,
        backends: Mapping[str, BackendRates] | None = None,
        senders: Mapping[str, SenderRates] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates: dict[str, tuple[Rate, ...]] = {}
        self._warmups: dict[str, tuple[int, ...]] = {}
        self._reserves: dict[str, float] = {}
        self._slowed: set[str] = set()
        self._flow = Flow(clock)
        for name, backend in (backends or {}).items():
            setting = f"backends.{name}"
            self._add(f"backend:{name}", backend.rates, f"{setting}.rate")
            for lane, rates in backend.lanes.items():
                self._add(lane_key(name, lane.lower()), rates, f"{setting}.lanes.{lane}")
            for domain, rates in backend.domains.items():
                self._add(f"domain:{name}:{domain.lower()}", rates, f"{setting}.domains.{domain}")
            self._warm_up(name, backend.warmup)
            self._reserves[name] = backend.reserve
        for sender, own in (senders or {}).items():
            key = f"sender:{sender.lower()}"
            self._add(key, own.rates, f"senders.{sender}")
            self._reserves[key] = own.reserve

    def set_campaign(self, campaign_id: int, rates: str | Iterable[str]) -> None:
        """The campaign's own ``rate``. Setting it again replaces it."""
        self._rates.pop(f"campaign:{campaign_id}", None)
        self._add(f"campaign:{campaign_id}", rates, "rate")

    def keys_for(
        self,
        backend: str,
        lane: str,
        *,
        domain: str = "",
        campaign_id: int | None = None,
        sender: str = "",
        messages: int = 1,
    ) -> tuple[str, ...]:
        """The keys that ``messages`` like this need; () when nothing limits them, then nobody need ask.

        Counts the messages, so that a lane without a limit can be slowed down to half of what it did.
        """
        own_lane = lane_key(backend, lane)
        self._flow.saw(own_lane, messages)
        if not self._rates and not self._warmups and not self._slowed:
            return ()
        keys = (
            f"backend:{backend}",
            own_lane,
            f"domain:{backend}:{domain}",
            f"campaign:{campaign_id}",
            f"sender:{sender}",
        )
        return tuple(key for key in keys if self._limited(key))

    def lanes_apart(self, backend: str) -> frozenset[str]:
        """Lanes and domains of this backend that have limits which the others have not."""
        beginnings = (f"lane:{backend}:", f"domain:{backend}:")
        return frozenset(
            key.removeprefix(own)
            for key in (*self._rates, *self._warmups, *self._slowed)
            for own in beginnings
            if key.startswith(own)
        )

    def rates(self, key: str) -> tuple[Rate, ...]:
        return self._rates.get(key, ())

    def terms(self, key: str) -> Terms:
        return Terms(self._rates.get(key, ()), self._warmups.get(key, ()), self._reserve(key))

    def rate(self, key: str) -> float:
        """Messages per second that ``key`` may do at most; 0.0 when it has no rate."""
        return min((rate.per_second for rate in self.rates(key)), default=0.0)

    def flow(self, key: str) -> float:
        """Messages per second that this process does with ``key``; 0.0 when none were seen lately."""
        return self._flow.per_second(key)

    def is_slowed(self, key: str) -> bool:
        return key in self._slowed

    def mark_slowed(self, key: str, *, slowed: bool) -> None:
        """From now on ``key`` does, or no longer does, limit messages although it may have no rate."""
        (self._slowed.add if slowed else self._slowed.discard)(key)

    def _reserve(self, key: str) -> float:
        """Of a campaign's own rate nothing is reserved: nobody shares it."""
        kind, _, rest = key.partition(":")
        if kind == "campaign":
            return 0.0
        return self._reserves.get(key if kind == "sender" else rest.partition(":")[0], 0.0)

    def _limited(self, key: str) -> bool:
        return key in self._rates or key in self._warmups or key in self._slowed

    def _warm_up(self, backend: str, plan: WarmupPlan) -> None:
        self._warmups |= {lane_key(backend, lane.lower()): steps for lane, steps in plan.lanes.items()}
        self._warmups |= {f"domain:{backend}:{each.lower()}": steps for each, steps in plan.domains.items()}
        if plan.schedule:
            self._warmups[f"backend:{backend}"] = plan.schedule

    def _add(self, key: str, rates: str | Iterable[str], setting: str) -> None:
        try:
            parsed = parse_all(rates)
        except ConfigError as error:
            raise ConfigError(f"{setting}: {error}") from None
        if parsed:
            self._rates[key] = parsed


def lane_key(backend: str, lane: str) -> str:
    """The key that replies such as 421 slow down: one provider's traffic through one backend."""
    return f"lane:{backend}:{lane}"


class Flow:
    """Messages per second by key, over about the last ten seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By key: start of the span under way, messages in it, messages per second in the one before.
        self._seen: OrderedDict[str, tuple[float, int, float | None]] = OrderedDict()

    def saw(self, key: str, messages: int) -> None:
        now = self._clock()
        start, count, before = self._seen.pop(key, (now, 0, None))
        if now - start >= _SPAN:
            start, count, before = now, 0, count / (now - start)
        self._seen[key] = (start, count + messages, before)
        if len(self._seen) > WATCHED:
            self._seen.popitem(last=False)

    def per_second(self, key: str) -> float:
        """0.0 when nothing was seen lately."""
        start, count, before = self._seen.get(key, (0.0, 0, None))
        passed = self._clock() - start
        if passed >= 2 * _SPAN:
            return 0.0
        if before is None:
            return count / max(passed, 1.0)
        return max(0.0, 1 - passed / _SPAN) * before + count / _SPAN
