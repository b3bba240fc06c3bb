"""What a cell may hold: the type names of ``[types]``, and how a cell's text becomes a value.

A cell is text until somebody declares otherwise, so a postcode keeps its leading zero.

=================  ==================================================  ======================
type               accepts                                             gives
=================  ==================================================  ======================
text               anything                                            str
integer            ``42``, ``-7``                                      int
decimal            ``1234.56``, never a thousands separator            Decimal
decimal,           ``1234,56`` and ``1.234,56``                        Decimal
date               ``2025-11-30``                                      date
date:FORMAT        what FORMAT says, ``date:%d.%m.%Y``                 date
datetime           ISO 8601, ``2025-11-30T09:00+01:00``                datetime
datetime:FORMAT    what FORMAT says                                    datetime
boolean            true/false, yes/no, 1/0, on/off in any case         bool
=================  ==================================================  ======================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

#: A cell longer than this is no number; Python's own limit for integers is 4 300 digits.
_MAX_NUMBER = 100
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?")
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "1", "on"), True),
    **dict.fromkeys(("false", "no", "0", "off"), False),
}


def convert(type_name: str, text: str) -> Any:
    """The value of one cell. An empty cell is ``""`` whatever its type: it renders as nothing.

    Raises ValueError with a reason in plain words; the reason does not repeat the cell.
    """
    if type_name == "text":
        return text
    text = text.strip()
    if not text:
        return ""
    name, _, form = type_name.partition(":")
    return _CONVERTERS[name](text, form)


def validate_type(type_name: str) -> None:
    """Raises ValueError, naming the types that exist, unless ``convert`` knows this one."""
    name, colon, form = type_name.partition(":")
    if name not in _CONVERTERS or (colon and name not in _FORMATTED):
        raise ValueError(f"unknown type {type_name!r}, expected one of: {', '.join(map(repr, _CONVERTERS))}")
    if colon:
        _validate_format(type_name, name, form)


def _validate_format(type_name: str, name: str, form: str) -> None:
    """A format must carry a whole date, there and back."""
    if "%y" not in form.lower():
        raise ValueError(f"type {type_name!r}: the format must name day, month and year")
    moment = datetime(2025, 11, 30, 9, 0)  # noqa: DTZ001 - a sample, not a time
    try:
        back = _CONVERTERS[name](moment.strftime(form), form)
    except ValueError as error:
        raise ValueError(f"type {type_name!r}: the format cannot be read back") from error
    if (back.year, back.month, back.day) != (2025, 11, 30):
        raise ValueError(f"type {type_name!r}: the format must name day, month and year")


def _text(text: str, form: str) -> str:
    return text


def _integer(text: str, form: str) -> int:
    if len(text) > _MAX_NUMBER or not _INTEGER.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _decimal(text: str, form: str) -> Decimal:
    if len(text) > _MAX_NUMBER or not _DECIMAL.fullmatch(text):
        raise ValueError('not a number like 1234.56 (for 1.234,56 declare the type "decimal,")')
    return Decimal(text)


def _decimal_comma(text: str, form: str) -> Decimal:
    if len(text) > _MAX_NUMBER or not _DECIMAL_COMMA.fullmatch(text):
        raise ValueError("not a number like 1234,56")
    return Decimal(text.replace(".", "").replace(",", "."))


def _date(text: str, form: str) -> date:
    if form:
        return _moment(text, form).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("not a date like 2025-11-30") from None


def _datetime(text: str, form: str) -> datetime:
    if form:
        return _moment(text, form)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a time like 2025-11-30T09:00") from None


def _moment(text: str, form: str) -> datetime:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - zone only when the format has %z
    except (ValueError, re.error):
        raise ValueError(f"does not match the format {form}") from None


def _boolean(text: str, form: str) -> bool:
    try:
        return _BOOLEANS[text.casefold()]
    except KeyError:
        raise ValueError("not true or false") from None


_CONVERTERS: dict[str, Callable[[str, str], Any]] = {
    "text": _text,
    "integer": _integer,
    "decimal": _decimal,
    "decimal,": _decimal_comma,
    "date": _date,
    "datetime": _datetime,
    "boolean": _boolean,
}
_FORMATTED = frozenset({"date", "datetime"})

#: The names of all types; a format after a colon is part of a type, not of its name.
TYPES = tuple(_CONVERTERS)
