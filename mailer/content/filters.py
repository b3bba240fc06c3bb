"""Filters for dates, numbers and money, in the language of the campaign or of one call.

``{{ amount | money("EUR") }}``, ``{{ born | date("long", locale="de") }}``. An empty cell stays empty.
What they made is kept, because a column repeats its values and babel takes 20-60 µs for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Any

from jinja2 import Undefined

#: Such texts are numbers that can be written; of others it is found out.
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")

_SAFE_SCHEMES = ("http:", "https:", "mailto:", "tel:")


def filters(locale: str, zone: tzinfo) -> dict[str, Callable[..., Any]]:
    """The filters of one language variant."""
    formats = _Formats(locale, zone)
    return {
        "date": formats.date,
        "datetime": formats.datetime,
        "number": formats.number,
        "percent": formats.percent,
        "money": formats.money,
        "default": default,
        "d": default,
        "safe_url": safe_url,
    }


def proofs(known: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., str]]:
    """In place of the filters that write numbers: each fails when ``known`` of its name does, and writes
    nothing. Any number can be written, so what it would look like is asked once per format."""

    def proof(write: Callable[..., Any]) -> Callable[..., str]:
        written = lru_cache(maxsize=256)(partial(write, 1))

        def proven(value: Any, *how: Any, **options: Any) -> str:
            plain = type(value) is str and _PLAIN_NUMBER.fullmatch(value)
            if plain or not _empty(value):
                if not plain:
                    _number(value)
                written(*how, **options)
            return ""

        return proven

    return {name: proof(known[name]) for name in ("money", "number", "percent")}


class _Formats:
    """Each takes ``locale`` for one call, and gives nothing for an empty cell."""

    def __init__(self, locale: str, zone: tzinfo) -> None:
        from babel import dates, numbers

        self._locale = locale
        self._zone = zone
        keep = lru_cache(maxsize=4096)
        self._date, self._datetime = keep(dates.format_date), keep(dates.format_datetime)
        self._decimal, self._percent = keep(numbers.format_decimal), keep(numbers.format_percent)
        self._currency = keep(numbers.format_currency)

    def date(self, value: Any, style: str = "medium", locale: str | None = None) -> str:
        if _empty(value):
            return ""
        day = value if type(value) is date else as_datetime(value, self._zone).date()
        return str(self._date(day, style, locale=locale or self._locale))

    def datetime(self, value: Any, style: str = "medium", locale: str | None = None) -> str:
        if _empty(value):
            return ""
        moment = as_datetime(value, self._zone)
        return str(self._datetime(moment, style, tzinfo=self._zone, locale=locale or self._locale))

    def number(self, value: Any, digits: int | None = None, locale: str | None = None) -> str:
        if _empty(value):
            return ""
        pattern = None if digits is None else _pattern(digits)
        return str(self._decimal(_number(value), pattern, locale=locale or self._locale))

    def percent(self, value: Any, digits: int = 0, locale: str | None = None) -> str:
        if _empty(value):
            return ""
        return str(self._percent(_number(value), _pattern(digits) + "%", locale=locale or self._locale))

    def money(self, value: Any, currency: str, locale: str | None = None) -> str:
        if _empty(value):
            return ""
        return str(self._currency(_number(value), currency, locale=locale or self._locale))


def as_datetime(value: Any, zone: tzinfo) -> datetime:
    """A datetime in ``zone`` from a date or datetime, ISO text or epoch seconds."""
    if isinstance(value, str):
        value = _from_iso(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, datetime):
        return value.astimezone(zone) if value.tzinfo else value.replace(tzinfo=zone)
    if isinstance(value, date):
        return datetime.combine(value, time(), zone)
    raise ValueError(f"not a date: {value!r}")


def _from_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not a date: {text[:40]!r}, give the column a type (date)") from None


def default(value: Any, instead: Any = "", _boolean: bool = False) -> Any:
    """``instead`` for a missing column and for an empty cell."""
    return instead if isinstance(value, Undefined) or _empty(value) or (_boolean and not value) else value


def safe_url(value: Any) -> Any:
    """The value itself when a browser would take it for http, https, mailto, tel or a relative link."""
    url = str(value).strip()
    # Browsers skip control characters and blanks while they look for the scheme.
    visible = "".join(char for char in url if char > " " and not "\x7f" <= char <= "\xa0").lower()
    scheme, colon, _ = visible.partition(":")
    if not colon or any(stop in scheme for stop in "/?#") or f"{scheme}:" in _SAFE_SCHEMES:
        return value
    raise ValueError(f"links may start with {', '.join(_SAFE_SCHEMES)} not with {scheme[:20]}:")


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Any) -> Decimal:
    if isinstance(value, datetime | date | bool):
        raise ValueError(f"not a number: {value!r}")
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(
            f"not a number: {str(value)[:40]!r} (a column of a list can be given a type: decimal)"
        ) from None
    if not number.is_finite() or abs(number.adjusted()) > 40:
        raise ValueError("this number is too large")
    return number


def _pattern(digits: int) -> str:
    if not 0 <= digits <= 12:
        raise ValueError("digits must be 0 to 12")
    return "#,##0" + ("." + "0" * digits if digits else "")
