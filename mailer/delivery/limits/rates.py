"""Rates as people write them: ``"20/s"``, ``"500/min"``, ``"10000/h"``, ``"50000/d"``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailer.errors import ConfigError

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_NAMES = {
    "s": ("s", "sec", "second"),
    "min": ("min", "minute"),
    "h": ("h", "hour"),
    "d": ("d", "day"),
}
_UNIT = {name: unit for unit, names in _NAMES.items() for name in names}
_RATE = re.compile(r"\s*(\d{1,12})\s*(?:/|\bper\b)\s*([a-z]+)\s*", re.IGNORECASE)

#: What every complaint about a rate shows.
FORMS = '"20/s", "500/min", "10000/h" or "50000/d"; a list of them when all must hold'


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """At most ``count`` messages in any ``seconds``: a window that slides, not a calendar hour."""

    count: int
    seconds: int

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in _SECONDS.items() if seconds == self.seconds), None)
        return f"{self.count}/{unit}" if unit else f"{self.count} per {self.seconds} s"

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def parse(text: str) -> Rate:
    """Raises ConfigError that shows the accepted forms."""
    match = _RATE.fullmatch(text)
    unit = _UNIT.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ConfigError(f"{text!r} is not a rate; write {FORMS}")
    if int(match[1]) == 0:
        raise ConfigError(f"{text!r} would never send anything; to stop sending, pause the campaign")
    return Rate(int(match[1]), _SECONDS[unit])


def parse_all(texts: str | Iterable[str]) -> tuple[Rate, ...]:
    """One rate or several; of two over the same time the lower one stays. Shortest window first."""
    rates = [parse(text) for text in ([texts] if isinstance(texts, str) else texts)]
    lowest: dict[int, Rate] = {}
    for rate in rates:
        lowest[rate.seconds] = min(rate, lowest.get(rate.seconds, rate))
    return tuple(lowest[seconds] for seconds in sorted(lowest))
