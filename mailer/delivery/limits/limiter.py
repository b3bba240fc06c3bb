"""The Limiter over any store that can read and write the memories of some keys in one step.

Asks that come while the store is busy are answered together by its next call: one call serves many
messages and several keys, and nothing is reserved that nobody asked for, so nothing expires or leaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from mailer.delivery.contract import Grant
from mailer.delivery.limits import slowing
from mailer.delivery.limits.plan import Limits
from mailer.delivery.limits.rates import Rate
from mailer.delivery.limits.windows import Gate, decide, gates, time_until

T = TypeVar("T")
#: What one key remembers: JSON-able, by gate name.
Memory = Mapping[str, Any]
Memories = Mapping[str, Memory]
#: Given the memories of the keys and the store's time: those to write, and a result. May be run again.
Change = Callable[[Memories, float], tuple[Memories, T]]
#: Told of every grant: key, messages, time on the store's clock.
GrantLog = Callable[[str, int, float], None]

#: A take waits this long rather than refuse, so that a message goes the moment its window has room. Whoever
#: asks what is available is told what will be in half that time. Without it 20/s came out as 19.3/s.
PATIENCE = 0.1

_ALL = 1 << 31


class Store(Protocol):
    """Keeps memories for all processes that share the limits."""

    async def exchange(self, keys: Sequence[str], change: Change[T]) -> T:
        """Read, change and write in one step; nobody else's exchange of these keys comes between."""
        ...


@dataclass(slots=True)
class _Ask:
    keys: tuple[str, ...]
    wanted: int
    consume: bool
    patience: float
    answer: asyncio.Future[Grant] = field(repr=False)


class WindowLimiter:
    """Implements ``delivery.contract.Limiter``. For one event loop.

    ``take`` of keys that no rate and no slowing down concerns grants everything; it waits up to
    ``patience`` seconds for room. What the store raises reaches every caller that waits for it.
    """

    def __init__(
        self,
        limits: Limits,
        store: Store,
        *,
        patience: float = PATIENCE,
        grant_log: GrantLog | None = None,
    ) -> None:
        self._limits = limits
        self._store = store
        self._patience = patience
        self._grant_log = grant_log
        self._asks: list[_Ask] = []
        self._serving: asyncio.Task[None] | None = None
        self._quiet_until: dict[str, float] = {}

    async def take(self, keys: Sequence[str], wanted: int) -> Grant:
        if not keys or wanted <= 0:
            return Grant(max(wanted, 0))
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        while True:
            left = max(0.0, deadline - clock())
            grant = await self._ask(keys, wanted, consume=True, patience=left)
            if grant.granted or grant.wait > left:
                return grant
            await asyncio.sleep(grant.wait)

    async def available(self, keys: Sequence[str]) -> Grant:
        if not keys:
            return Grant(_ALL)
        return await self._ask(keys, _ALL, consume=False, patience=self._patience / 2)

    async def slow_down(self, key: str, seconds: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        if seconds is None and loop.time() < self._quiet_until.get(key, 0.0):
            return
        self._quiet_until[key] = loop.time() + slowing.COOLDOWN_SECONDS
        full = self._limits.full_rate(key, slowing.UNSEEN_PER_SECOND)
        self._limits.mark_slowed(key, slowed=True)

        def change(memories: Memories, now: float) -> tuple[Memories, None]:
            before = memories.get(key, {})
            return {
                key: {
                    **before,
                    slowing.MEMORY: slowing.halved(before.get(slowing.MEMORY), now, full, seconds),
                }
            }, None

        await self._store.exchange([key], change)

    async def _ask(self, keys: Sequence[str], wanted: int, *, consume: bool, patience: float) -> Grant:
        answer: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._asks.append(_Ask(tuple(keys), wanted, consume, patience, answer))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        try:
            while self._asks:
                asks = [ask for ask in self._asks if not ask.answer.done()]
                self._asks = []
                await self._answer(asks)
        finally:
            self._serving = None

    async def _answer(self, asks: Sequence[_Ask]) -> None:
        keys = sorted({key for ask in asks for key in ask.keys})
        round_ = _Round(asks, {key: self._limits.rates(key) for key in keys}, self._grant_log)
        try:
            grants, at_full_speed = await self._store.exchange(keys, round_.change)
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, whatever it is
            for ask in asks:
                if not ask.answer.done():
                    ask.answer.set_exception(error)
            return
        for key in at_full_speed:
            self._limits.mark_slowed(key, slowed=False)
        for ask, grant in zip(asks, grants, strict=True):
            if not ask.answer.done():
                ask.answer.set_result(grant)


@dataclass(slots=True)
class _Round:
    """One exchange: the asks that came together, answered in order."""

    asks: Sequence[_Ask]
    rates: Mapping[str, Sequence[Rate]]
    grant_log: GrantLog | None

    def change(self, memories: Memories, now: float) -> tuple[Memories, tuple[list[Grant], list[str]]]:
        gates_of = {
            key: gates(rates) + slowing.gates(memories.get(key, {}).get(slowing.MEMORY), now)
            for key, rates in self.rates.items()
        }
        working = {key: dict(memories.get(key, {})) for key in self.rates}
        changed: set[str] = set()
        grants = []
        for ask in self.asks:
            grant = _grant(
                ask, [(gate, working[key].get(gate.name)) for key in ask.keys for gate in gates_of[key]], now
            )
            grants.append(grant)
            if ask.consume and grant.granted:
                self._consume(ask.keys, gates_of, working, grant.granted, now)
                changed.update(ask.keys)
        at_full_speed = [key for key, found in gates_of.items() if not _slowed(found)]
        changed.update(key for key in at_full_speed if _forget_slowing(working[key]))
        return {key: working[key] for key in changed}, (grants, at_full_speed)

    def _consume(
        self,
        keys: Sequence[str],
        gates_of: Mapping[str, Sequence[Gate]],
        working: dict[str, dict[str, Any]],
        granted: int,
        now: float,
    ) -> None:
        for key in keys:
            memory = working[key]
            for gate in gates_of[key]:
                memory[gate.name] = gate.after(memory.get(gate.name), now, granted)
            if self.grant_log:
                self.grant_log(key, granted, now)


def _grant(ask: _Ask, found: Sequence[tuple[Gate, Any]], now: float) -> Grant:
    if not ask.consume:
        # What will be there when those who are told of it come.
        decision = decide(found, ask.wanted, now + ask.patience)
        return Grant(decision.granted, decision.wait)
    soon = time_until(found, ask.wanted, now)
    if 0 < soon <= ask.patience:
        return Grant(0, soon)
    decision = decide(found, ask.wanted, now)
    return Grant(decision.granted, decision.wait)


def _slowed(found: Sequence[Gate]) -> bool:
    return any(gate.name in slowing.NAMES for gate in found)


def _forget_slowing(memory: dict[str, Any]) -> bool:
    """True when there was something to forget."""
    remembered = [name for name in (slowing.MEMORY, *slowing.NAMES) if name in memory]
    for name in remembered:
        del memory[name]
    return bool(remembered)
