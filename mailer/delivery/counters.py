"""Counts what an engine does; plain numbers, so that counting costs nothing that can be measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mailer.message import State


class Counters:
    """Implements ``Observer``, for one event loop. Labels are states and names of backends, never more."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()

    def hint(self, claimed: int) -> None:
        self._counts["hints", "claimed" if claimed else "empty"] += 1

    def settled(self, state: State, backend: str) -> None:
        self._counts["settled", state.value, backend] += 1

    def waited(self, backend: str, seconds: float) -> None:
        self._counts["limit_waits", backend] += 1

    def rested(self, backend: str, seconds: float) -> None:
        self._counts["rests", backend] += 1

    def add(self, *name: str, count: int = 1) -> None:
        """For what no observer hears of: ``add("published")``."""
        self._counts[name] += count

    def snapshot(self) -> list[list[Any]]:
        """As JSON takes it: name, labels …, number."""
        return [[*name, number] for name, number in self._counts.items()]
