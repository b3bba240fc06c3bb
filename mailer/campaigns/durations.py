"""Lengths of time as people write them: ``"90s"``, ``"15m"``, ``"24h"``, ``"2d"``, ``"1w"``."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]+)\s*")

#: What every complaint about a duration shows.
FORMS = 'write it like "90s", "15m", "24h" or "2d"'


def seconds(text: str | float) -> float:
    """The length in seconds; a bare number is seconds. Raises ValueError that shows the forms."""
    if isinstance(text, bool):
        raise ValueError(f"not a length of time; {FORMS}")
    if isinstance(text, int | float):
        if not 0 < text < float("inf"):
            raise ValueError("a length of time must be more than nothing")
        return float(text)
    found = _DURATION.fullmatch(text.lower())
    if found is None or found[2] not in _SECONDS:
        raise ValueError(f"not a length of time; {FORMS}")
    length = float(found[1]) * _SECONDS[found[2]]
    if length <= 0:
        raise ValueError("a length of time must be more than nothing")
    return length
