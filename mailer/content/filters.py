"""Filters for dates, numbers and money, in the language of the campaign or of one call.

``{{ amount | money("EUR") }}``, ``{{ born | date("long", locale="de") }}``. An empty cell stays empty.
What they made is kept, because a column repeats its values and babel takes 20-60 µs for each.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from jinja2 import Undefined

from mailer.content.values import as_datetime

_SAFE_SCHEMES = ("http:", "https:", "mailto:", "tel:")


def filters(locale: str, zone: tzinfo) -> dict[str, Callable[..., Any]]:
    """The filters of one language variant."""
    from babel import dates, numbers

    keep = lru_cache(maxsize=4096)
    format_date, format_datetime = keep(dates.format_date), keep(dates.format_datetime)
    format_decimal, format_percent = keep(numbers.format_decimal), keep(numbers.format_percent)
    format_currency = keep(numbers.format_currency)

    def as_date(value: Any, style: str = "medium", locale: str = locale) -> str:
        if _empty(value):
            return ""
        day = value if type(value) is date else as_datetime(value, zone).date()
        return str(format_date(day, style, locale=locale))

    def as_moment(value: Any, style: str = "medium", locale: str = locale) -> str:
        if _empty(value):
            return ""
        return str(format_datetime(as_datetime(value, zone), style, tzinfo=zone, locale=locale))

    def as_number(value: Any, digits: int | None = None, locale: str = locale) -> str:
        if _empty(value):
            return ""
        number = _number(value) if digits is None else _rounded(_number(value), digits)
        pattern = None if digits is None else _pattern(digits)
        return str(format_decimal(number, pattern, locale=locale))

    def as_percent(value: Any, digits: int = 0, locale: str = locale) -> str:
        return (
            ""
            if _empty(value)
            else str(format_percent(_number(value), _pattern(digits) + "%", locale=locale))
        )

    def as_money(value: Any, currency: str, locale: str = locale) -> str:
        return "" if _empty(value) else str(format_currency(_number(value), currency, locale=locale))

    return {
        "date": as_date,
        "datetime": as_moment,
        "number": as_number,
        "percent": as_percent,
        "money": as_money,
        "default": default,
        "d": default,
        "safe_url": safe_url,
    }


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
        raise ValueError(f"not a number: {str(value)[:40]!r}, give the column a type (decimal)") from None
    if not number.is_finite() or abs(number.adjusted()) > 40:
        raise ValueError("this number is too large")
    return number


def _rounded(number: Decimal, digits: int) -> Decimal:
    return round(number, _allowed(digits))


def _pattern(digits: int) -> str:
    return "#,##0" + ("." + "0" * _allowed(digits) if digits else "")


def _allowed(digits: int) -> int:
    if not 0 <= digits <= 12:
        raise ValueError("digits must be 0 to 12")
    return digits
