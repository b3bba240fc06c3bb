"""Moments as people write them: ``2026-12-01T09:00+01:00``, or ``2026-12-01 09:00 Europe/Berlin``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

#: What every complaint about a moment shows.
FORMS = 'write it like "2026-12-01 09:00 Europe/Berlin" or "2026-12-01T09:00+01:00"'


def moment(value: str | datetime, zone: str | None = None) -> float:
    """Seconds since the epoch. ``zone`` holds for a local time that names none.

    Raises ValueError that shows the forms, or says why a local time is none or two: where clocks are
    changed, an hour is skipped in spring and comes twice in autumn.
    """
    if isinstance(value, datetime):
        when, name = value, zone
    else:
        when, name = _parsed(value)
        name = name or zone
    if when.tzinfo is not None:
        return when.timestamp()
    if name is None:
        raise ValueError(f"{when:%Y-%m-%d %H:%M} where? {FORMS}")
    return _local(when, name)


def _parsed(text: str) -> tuple[datetime, str | None]:
    words = text.split()
    name = words.pop() if len(words) > 1 and words[-1][:1].isalpha() else None
    try:
        return datetime.fromisoformat(" ".join(words)), name
    except ValueError:
        raise ValueError(f"{text!r} is not a moment; {FORMS}") from None


def _local(when: datetime, name: str) -> float:
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write it like 'Europe/Berlin'") from None
    first, second = (when.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.timestamp()
    wall = f"{when:%Y-%m-%d %H:%M}"
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != when:
        later = first.astimezone(UTC).astimezone(zone)
        raise ValueError(
            f"{wall} does not exist in {name}: clocks are put forward then; {later:%H:%M} is the same moment"
        )
    offsets = " or ".join(repr(one.isoformat(timespec="minutes")) for one in (first, second))
    raise ValueError(f"{wall} comes twice in {name}: clocks are put back then; say which: {offsets}")


def shown(at: float) -> str:
    """For people, in the time zone of this machine."""
    when = datetime.fromtimestamp(at).astimezone()
    near = abs(when - datetime.now(UTC)) < timedelta(days=300)
    return f"{when:%a %d %b %H:%M %Z}" if near else f"{when:%Y-%m-%d %H:%M %Z}"
