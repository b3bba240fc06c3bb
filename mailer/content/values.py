"""From the text of a cell to the type that the campaign gave its column.

An empty cell stays an empty string whatever its type, so ``default`` and ``if`` work on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any

from mailer.errors import ContentError

Reader = Callable[[str], Any]

_LONGEST = 64  # characters of a number, date or truth value
_WHOLE = re.compile(r"[-+]?[0-9]+")
_PLAIN_DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}\.[0-9]{3}")
_DOTTED_DATE = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})")
_TRUTH = {
    **dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "f", "off", "0"), False),
}


def readers(types: Mapping[str, str], locale: str, zone: tzinfo) -> dict[str, Reader]:
    """Column identifier -> what reads it. Text columns are left out. Raises ContentError."""
    known = _known(locale, zone)
    for column, kind in types.items():
        if kind != "text" and kind not in known:
            expected = ", ".join(["text", *known])
            raise ContentError(f"Unknown type {kind!r}, expected one of: {expected}.", column=column)
    return {column: known[kind] for column, kind in types.items() if kind != "text"}


def read(reader: Reader, value: Any, column: str) -> Any:
    """The typed value, or the empty string for an empty cell. Raises ContentError that names the column."""
    text = str(value).strip()
    if not text:
        return ""
    try:
        if len(text) > _LONGEST:
            raise ValueError("it is too long")
        return reader(text)
    except (ValueError, ArithmeticError) as error:
        raise ContentError(f"Cannot read {text[:_LONGEST]!r}: {error}.", column=column) from None


def plain(value: Any) -> Any:
    """A cell without a type: None is empty, everything else is what the input format says."""
    return "" if value is None else value


def _known(locale: str, zone: tzinfo) -> dict[str, Reader]:
    def decimal(text: str) -> Decimal:
        return _decimal(text, locale)

    def moment(text: str) -> datetime:
        return _datetime(text, zone)

    return {
        "integer": _integer,
        "decimal": decimal,
        "money": decimal,
        "date": _date,
        "datetime": moment,
        "boolean": _boolean,
    }


def _integer(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _decimal(text: str, locale: str) -> Decimal:
    """``1234.50`` always; the locale's own ``1.234,50`` too. What could be either is refused."""
    from babel import numbers

    comma = numbers.get_decimal_symbol(locale) == ","
    if comma and _GROUPED.fullmatch(text):
        raise ValueError(
            f"it may mean {text.replace('.', '')} or {text.replace('.', ',')} here, write one of these"
        )
    if _PLAIN_DECIMAL.fullmatch(text):
        return Decimal(text)
    try:
        return numbers.parse_decimal(text, locale, strict=True)
    except numbers.NumberFormatError:
        raise ValueError("not a number") from None


def _date(text: str) -> date:
    if dotted := _DOTTED_DATE.fullmatch(text):
        day, month, year = map(int, dotted.groups())
        return date(year, month, day)
    try:
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text).date()
    except ValueError:
        raise ValueError("not a date, write YYYY-MM-DD") from None


def _datetime(text: str, zone: tzinfo) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a date and time, write YYYY-MM-DD HH:MM") from None
    return value if value.tzinfo else value.replace(tzinfo=zone)


def _boolean(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError("not yes or no") from None


def as_datetime(value: Any, zone: tzinfo) -> datetime:
    """For the filters: a datetime in ``zone`` from a date or datetime, ISO text or epoch seconds."""
    if isinstance(value, str):
        value = _datetime(value, zone)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, datetime):
        return value.astimezone(zone) if value.tzinfo else value.replace(tzinfo=zone)
    if isinstance(value, date):
        return datetime.combine(value, time(), zone)
    raise ValueError(f"not a date: {value!r}")
