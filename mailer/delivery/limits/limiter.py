"""The Limiter over anything that can decide several asks at once.

Asks that come while a call is under way are answered together by the next one: one call serves many
messages and several keys, and nothing is reserved that nobody asked for, so nothing expires or leaks.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailer.delivery.contract import Grant
from mailer.delivery.limits import slowing
from mailer.delivery.limits.plan import Limits, Terms
from mailer.delivery.limits.slowing import Part

log = logging.getLogger(__name__)

#: How often a process that sends asks what others have slowed down.
HEAR_SECONDS = 1.0
#: ... and when there was no answer: mail that nothing limits must not wait for one over and over.
UNHEARD_SECONDS = 10.0
#: Told of every grant: key, messages, time on the store's clock.
GrantLog = Callable[[str, int, float], None]

#: A take waits this long rather than refuse, so that a message goes the moment its window has room. Whoever
#: asks what is available is told what will be in half that time. Without it 20/s came out as 19.3/s.
PATIENCE = 0.1

_ALL = 1 << 31


@dataclass(slots=True)
class Ask:
    """``wanted`` messages on all of ``keys``; ``consume`` False only looks."""

    keys: tuple[str, ...]
    wanted: int
    consume: bool
    patience: float
    urgent: bool  # transactional
    answer: asyncio.Future[Grant] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answers:
    """One grant per ask, the keys that are not slowed down, and the store's time."""

    grants: Sequence[Grant]
    at_full_speed: Sequence[str]
    now: float


class Decider(Protocol):
    """Decides over the memories that all processes share; each call in one step."""

    async def answer(self, asks: Sequence[Ask], terms: Mapping[str, Terms]) -> Answers: ...

    async def slow_down(self, key: str, terms: Terms, part: Part, seconds: float | None) -> None:
        """Halve what ``key`` may do, this part of it until now; nothing at all for ``seconds``."""
        ...

    async def join(self, key: str, terms: Terms, part: Part) -> None:
        """Another process was asked to slow it down, and this part is half as much, too."""
        ...

    async def slowed(self) -> Collection[str]:
        """The keys that are slowed down now, whoever was asked to."""
        ...


class WindowLimiter:
    """Implements ``delivery.contract.Limiter``. For one event loop.

    ``take`` of keys that no rate and no slowing down concerns grants everything; it waits up to
    ``patience`` seconds for room. What the decider raises reaches every caller that waits for it.
    """

    def __init__(
        self,
        limits: Limits,
        decider: Decider,
        *,
        patience: float = PATIENCE,
        grant_log: GrantLog | None = None,
    ) -> None:
        self._limits = limits
        self._decider = decider
        self._patience = patience
        self._grant_log = grant_log
        self._asks: list[Ask] = []
        self._serving: asyncio.Task[None] | None = None
        self._name = secrets.token_hex(4)  # among the processes that share the limits
        self._quiet_until: dict[str, float] = {}
        self._hear_at = 0.0

    async def take(self, keys: Sequence[str], wanted: int, *, urgent: bool = False) -> Grant:
        if not keys or wanted <= 0:
            return Grant(max(wanted, 0))
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        while True:
            left = max(0.0, deadline - clock())
            grant = await self._ask(keys, wanted, consume=True, patience=left, urgent=urgent)
            if grant.granted or grant.wait > left:
                return grant
            await asyncio.sleep(grant.wait)

    async def available(self, keys: Sequence[str], *, urgent: bool = False) -> Grant:
        if not keys:
            return Grant(_ALL)
        return await self._ask(keys, _ALL, consume=False, patience=self._patience / 2, urgent=urgent)

    async def slow_down(self, key: str, seconds: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        again = loop.time() < self._quiet_until.get(key, 0.0)
        if seconds is None and again:
            return
        if not again:
            log.warning("%s: the other side asks for less; slowed down", key)
        self._quiet_until[key] = loop.time() + slowing.COOLDOWN_SECONDS
        part = self._part(key)
        self._limits.mark_slowed(key, slowed=True)
        await self._decider.slow_down(key, self._limits.terms(key), part, seconds)

    async def hear(self) -> None:
        clock = asyncio.get_running_loop().time
        if clock() < self._hear_at:
            return
        self._hear_at = clock() + UNHEARD_SECONDS
        for key in await self._decider.slowed():
            if not self._limits.is_slowed(key):
                part = self._part(key)
                self._limits.mark_slowed(key, slowed=True)
                if part.flow:
                    await self._decider.join(key, self._limits.terms(key), part)
        self._hear_at = clock() + HEAR_SECONDS

    async def close(self) -> None:
        """Nothing of its own to let go of."""

    def _part(self, key: str) -> Part:
        return Part(self._name, self._limits.flow(key), self._limits.rate(key))

    async def _ask(
        self, keys: Sequence[str], wanted: int, *, consume: bool, patience: float, urgent: bool
    ) -> Grant:
        answer: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._asks.append(Ask(tuple(keys), wanted, consume, patience, urgent, answer))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        try:
            while self._asks:
                asks = [ask for ask in self._asks if not ask.answer.done()]
                asks.sort(key=lambda ask: not ask.urgent)
                self._asks = []
                await self._answer(asks)
        finally:
            self._serving = None

    async def _answer(self, asks: Sequence[Ask]) -> None:
        keys = sorted({key for ask in asks for key in ask.keys})
        try:
            answers = await self._decider.answer(asks, {key: self._limits.terms(key) for key in keys})
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, whatever it is
            for ask in asks:
                if not ask.answer.done():
                    ask.answer.set_exception(error)
            return
        for key in answers.at_full_speed:
            self._limits.mark_slowed(key, slowed=False)
        for ask, grant in zip(asks, answers.grants, strict=True):
            self._log(ask, grant, answers.now)
            if not ask.answer.done():
                ask.answer.set_result(grant)

    def _log(self, ask: Ask, grant: Grant, now: float) -> None:
        if self._grant_log is not None and ask.consume and grant.granted:
            for key in ask.keys:
                self._grant_log(key, grant.granted, now)
