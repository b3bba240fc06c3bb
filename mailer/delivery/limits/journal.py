"""What this process was granted lately: Redis may lose it before it is copied to the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from mailer.delivery.limits.limiter import Answers, Ask
from mailer.delivery.limits.plan import Terms

#: A copy is a second or two old.
KEPT_SECONDS = 30.0
#: Grants within this count as one, at the time of the last.
STEP_SECONDS = 0.1


class Journal:
    """Grants on keys with windows of more than a minute, on Redis' clock."""

    def __init__(self) -> None:
        #: When anything was granted last, whatever its windows.
        self.last = 0.0
        self._granted: dict[str, tuple[Terms, deque[tuple[float, int]]]] = {}

    def note(self, asks: Sequence[Ask], answers: Answers, terms: Mapping[str, Terms]) -> None:
        for ask, grant in zip(asks, answers.grants, strict=True):
            if ask.consume and grant.granted:
                self.last = answers.now
                for key in ask.keys:
                    if terms[key].long:
                        self._add(key, terms[key], answers.now, grant.granted)

    def since(self, time: float) -> dict[str, tuple[Terms, list[tuple[float, int]]]]:
        """By key: its terms, and what was granted later than ``time``."""
        later = {
            key: (terms, [entry for entry in granted if entry[0] > time])
            for key, (terms, granted) in self._granted.items()
        }
        return {key: own for key, own in later.items() if own[1]}

    def _add(self, key: str, terms: Terms, now: float, granted: int) -> None:
        _, entries = self._granted.get(key, (terms, deque()))
        if entries and now - entries[-1][0] < STEP_SECONDS:
            granted += entries.pop()[1]
        entries.append((now, granted))
        while entries[0][0] < now - KEPT_SECONDS:
            entries.popleft()
        self._granted[key] = (terms, entries)
