"""Decides asks over any store that can read and write the memories of some keys in one step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from mailer.delivery.contract import Grant
from mailer.delivery.limits import slowing, windows
from mailer.delivery.limits.limiter import Answers, Ask
from mailer.delivery.limits.plan import Terms
from mailer.delivery.limits.slowing import Hold, Part
from mailer.delivery.limits.warmup import Warmup
from mailer.delivery.limits.windows import LONGEST_PACE, URGENT_SECONDS, Gate, decide, time_until

T = TypeVar("T")
#: Where a key keeps until when transactional mail comes next.
URGENT = "urgent"
#: The key that keeps which others are slowed down, and until when: who never asked for those does not know.
SLOWED = "slowed"
#: What one key remembers: JSON-able, by gate name.
Memory = Mapping[str, Any]
Memories = Mapping[str, Memory]
#: Given the memories of the keys and the store's time: those to write, and a result. May be run again.
Change = Callable[[Memories, float], tuple[Memories, T]]


class Store(Protocol):
    """Keeps memories for all processes that share the limits."""

    async def exchange(self, keys: Sequence[str], change: Change[T]) -> T:
        """Read, change and write in one step; nobody else's exchange of these keys comes between."""
        ...


class SharedStore(Store, Protocol):
    """A store of several processes, which may lose what it was told."""

    def when_emptied(self, say: Callable[[], Awaitable[None]]) -> None:
        """Once it was emptied, nothing is given away until this has returned in every process. May raise
        LimitsUnavailable or LedgerError: then it is tried again."""
        ...


class Exchanged:
    """Implements ``limiter.Decider``: reads the memories, decides in Python, writes them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def answer(self, asks: Sequence[Ask], terms: Mapping[str, Terms]) -> Answers:
        return await self._store.exchange(list(terms), lambda found, now: _answer(asks, terms, found, now))

    async def slow_down(self, key: str, _: Terms, part: Part, seconds: float | None) -> None:
        def change(memories: Memories, now: float) -> tuple[Memories, None]:
            before = memories.get(key, {})
            slowed = slowing.halved(before.get(slowing.MEMORY), now, part, seconds)
            known = {each: end for each, end in memories.get(SLOWED, {}).items() if end > now}
            known[key] = slowing.ends(slowed)
            return {key: {**before, slowing.MEMORY: slowed}, SLOWED: known}, None

        await self._store.exchange([key, SLOWED], change)

    async def join(self, key: str, _: Terms, part: Part) -> None:
        def change(memories: Memories, now: float) -> tuple[Memories, None]:
            memory = memories.get(key, {})
            before = memory.get(slowing.MEMORY)
            after = slowing.joined(before, now, part)
            return ({} if after is before else {key: {**memory, slowing.MEMORY: after}}), None

        await self._store.exchange([key], change)

    async def slowed(self) -> Collection[str]:
        def look(memories: Memories, now: float) -> tuple[Memories, list[str]]:
            return {}, [key for key, end in memories.get(SLOWED, {}).items() if end > now]

        return await self._store.exchange([SLOWED], look)


def gates(terms: Terms, memory: Memory, now: float) -> list[Gate]:
    """Every gate of one key."""
    found = windows.gates(terms.rates)
    if terms.warmup:
        found.append(Warmup(terms.warmup))
    return found + slowing.gates(memory.get(slowing.MEMORY), now)


def _answer(
    asks: Sequence[Ask], terms: Mapping[str, Terms], memories: Memories, now: float
) -> tuple[Memories, Answers]:
    """The asks that came together, answered in order."""
    working = {key: dict(memories.get(key, {})) for key in terms}
    gates_of = {key: gates(own, working[key], now) for key, own in terms.items()}
    for_bulk = {key: gates(own.for_bulk, working[key], now) for key, own in terms.items()}
    changed: set[str] = set()
    grants = []
    for ask in asks:
        own = gates_of if ask.urgent else for_bulk
        found = [(gate, working[key].get(gate.name)) for key in ask.keys for gate in own[key]]
        if not ask.urgent:
            found += [(Hold(working[key].get(URGENT, 0.0), URGENT), None) for key in ask.keys]
        grant = _grant(ask, found, now)
        grants.append(grant)
        if ask.consume and grant.granted:
            for key in ask.keys:
                for gate in gates_of[key]:
                    working[key][gate.name] = gate.after(working[key].get(gate.name), now, grant.granted)
            changed.update(ask.keys)
        if ask.consume and ask.urgent:
            rest = ask.wanted - grant.granted
            changed.update(key for key in ask.keys if _comes_next(working[key], gates_of[key], rest, now))
    at_full_speed = [key for key, found in gates_of.items() if not _slowed(found)]
    changed.update(key for key in at_full_speed if _forget_slowing(working[key]))
    return {key: working[key] for key in changed}, Answers(grants, at_full_speed, now)


def _grant(ask: Ask, found: Sequence[tuple[Gate, Any]], now: float) -> Grant:
    if not ask.consume:
        # What will be there when those who are told of it come.
        decision = decide(found, ask.wanted, now + ask.patience)
        return Grant(decision.granted, decision.wait)
    soon = time_until(found, ask.wanted, now)
    if 0 < soon <= ask.patience:
        return Grant(0, soon)
    decision = decide(found, ask.wanted, now)
    return Grant(decision.granted, decision.wait)


def _comes_next(memory: dict[str, Any], found: Sequence[Gate], rest: int, now: float) -> bool:
    """What transactional mail waits for in this window, bulk mail must not take. True when that is news.

    Where the wait is long bulk mail is kept out by the reserve, and otherwise waits as well.
    """
    wait = time_until([(gate, memory.get(gate.name)) for gate in found], rest, now) if rest else 0.0
    if 0 < wait <= LONGEST_PACE:
        memory[URGENT] = now + wait + URGENT_SECONDS
        return True
    return memory.pop(URGENT, None) is not None


def _slowed(found: Sequence[Gate]) -> bool:
    return any(gate.name in slowing.NAMES for gate in found)


def _forget_slowing(memory: dict[str, Any]) -> bool:
    """True when there was something to forget."""
    remembered = [name for name in (slowing.MEMORY, *slowing.NAMES) if name in memory]
    for name in remembered:
        del memory[name]
    return bool(remembered)
