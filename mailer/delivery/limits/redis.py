"""Limits shared through Redis: one atomic script, and Redis' own clock."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TypeVar

from redis.exceptions import WatchError

from mailer.delivery.contract import Grant
from mailer.delivery.limits.copies import Copies
from mailer.delivery.limits.exchange import SLOWED, Change, Memory
from mailer.delivery.limits.filling import MARKER, PREFIX, Filling
from mailer.delivery.limits.journal import Journal
from mailer.delivery.limits.limiter import PATIENCE, Answers, Ask, GrantLog, WindowLimiter
from mailer.delivery.limits.plan import Limits, Terms
from mailer.delivery.limits.slowing import Part

T = TypeVar("T")

#: Memories that are asked for all the time end this long after the last time.
KEPT_SECONDS = 3600


class RedisDecider:
    """Implements ``limiter.Decider``. For one event loop.

    Raises LimitsUnavailable within about two seconds when Redis hangs or is away, and at once for a second
    after that.
    """

    def __init__(self, filling: Filling, journal: Journal) -> None:
        self._filling = filling
        self._journal = journal

    async def answer(self, asks: Sequence[Ask], terms: Mapping[str, Terms]) -> Answers:
        keys = list(terms)
        place = {key: number for number, key in enumerate(keys, 1)}
        request = {
            "terms": [own.as_json() for own in terms.values()],
            "asks": [
                {
                    "keys": [place[key] for key in ask.keys],
                    "wanted": ask.wanted,
                    "consume": ask.consume,
                    "patience": ask.patience,
                    "urgent": ask.urgent,
                }
                for ask in asks
            ],
        }
        now, flat, full = await self._filling.do("answer", keys, json.dumps(request))
        grants = [Grant(flat[at], float(flat[at + 1])) for at in range(0, len(flat), 2)]
        answers = Answers(grants, [keys[number - 1] for number in full], float(now))
        self._journal.note(asks, answers, terms)
        return answers

    async def slow_down(self, key: str, terms: Terms, part: Part, seconds: float | None) -> None:
        request = {"key": key, "part": asdict(part), "seconds": seconds or 0, "terms": terms.as_json()}
        await self._filling.do("slow_down", [key, SLOWED], json.dumps(request))

    async def join(self, key: str, terms: Terms, part: Part) -> None:
        request = {"part": asdict(part), "terms": terms.as_json()}
        await self._filling.do("join", [key], json.dumps(request))

    async def slowed(self) -> Collection[str]:
        return [key.decode() for key in await self._filling.do("slowed", [SLOWED])]


class RedisStore:
    """Implements ``exchange.Store`` for what is asked for once a second: optimistic, tried until nobody
    came between. Raises LimitsUnavailable.

    The memory ``"filling"`` tells until when others have yet to say what they know of an emptied Redis.
    """

    def __init__(self, filling: Filling) -> None:
        self._filling = filling

    async def exchange(self, keys: Sequence[str], change: Change[T]) -> T:
        while True:
            open_at = float(await self._filling.do("look", []))
            found: tuple[T] | None = await self._filling.guarded(self._try(keys, change, open_at))
            if found is not None:
                return found[0]

    def when_emptied(self, say: Callable[[], Awaitable[None]]) -> None:
        self._filling.when_emptied(say)

    async def _try(self, keys: Sequence[str], change: Change[T], open_at: float) -> tuple[T] | None:
        """None: somebody came between, or emptied Redis."""
        names = [f"{PREFIX}{key}" for key in keys]
        async with self._filling.redis.pipeline(transaction=True) as pipe:
            await pipe.watch(MARKER, *names)
            if await pipe.hget(MARKER, "filling") != self._filling.known:
                return None
            packed = await pipe.mget(names)
            seconds, micros = await pipe.time()
            found = {key: json.loads(own) for key, own in zip(keys, packed, strict=True) if own}
            changed, result = change({**found, "filling": {"open_at": open_at}}, seconds + micros / 1e6)
            pipe.multi()  # type: ignore[no-untyped-call]  # redis-py gives it no types
            for key, memory in changed.items():
                pipe.set(f"{PREFIX}{key}", json.dumps(memory), ex=KEPT_SECONDS)
            try:
                await pipe.execute()
            except WatchError:
                return None
            return (result,)


async def look(url: str, key: str) -> tuple[Memory, float]:
    """What a ``RedisStore`` remembers under this key, and the time there. Changes nothing, not even in a
    Redis that was emptied. Raises LimitsUnavailable and ConfigError."""
    filling = Filling(url, Journal())
    try:
        packed = await filling.guarded(filling.redis.get(f"{PREFIX}{key}"))
        seconds, micros = await filling.guarded(filling.redis.time())
    finally:
        await filling.close()
    return json.loads(packed) if packed else {}, seconds + micros / 1e6


class RedisLimiter(WindowLimiter):
    """The Limiter of workers that share a Redis.

    ``copies`` is where long windows outlive Redis; None: they do not. ``clock`` None: Redis' own.
    """

    def __init__(
        self,
        limits: Limits,
        url: str,
        copies: Copies | None = None,
        *,
        patience: float = PATIENCE,
        grant_log: GrantLog | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        journal = Journal()
        self.filling = Filling(url, journal, copies, clock=clock)
        decider = RedisDecider(self.filling, journal)
        super().__init__(limits, decider, patience=patience, grant_log=grant_log)

    async def close(self) -> None:
        """Copy a last time, and let go of Redis."""
        await self.filling.close()
