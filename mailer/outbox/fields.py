"""What single fields of a message may hold. Every function raises FieldError that names the field."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from mailer.address import UNSAFE, Address, AddressError
from mailer.errors import FieldError
from mailer.outbox.contract import Addresses

#: Characters of a key; more is no key but content.
LONGEST_KEY = 255
#: The end of the year 9999, the last that a datetime has.
LATEST = 253_402_300_799.0

_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,400}@[!-;=?A-~]{1,400}>", re.ASCII)
_ADDRESS = "an address is text, such as 'Ada <ada@example.org>'"


def addresses(name: str, given: Addresses) -> list[Address]:
    if isinstance(given, str):
        return [address(name, given)]
    return [address(name, text) for text in several(name, given, _ADDRESS, "an address or a list")]


def empty(given: Any) -> bool:
    """An empty list: nothing is wrong with it."""
    return type(given) in (list, tuple) and not given


def address(name: str, given: Any) -> Address:
    if not isinstance(given, str):
        raise FieldError(f"{_ADDRESS}, not {type(given).__name__}", column=name)
    try:
        return Address.parse(given)
    except AddressError as error:
        raise FieldError(f"not an address: {error.reason}", column=name) from None


def written(one: Address) -> str:
    """As ``Address.parse`` reads it again."""
    if not one.name:
        return one.addr
    name = one.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{one.addr}>'


def several(name: str, given: Any, one: str, wanted: str = "a list") -> Iterable[Any]:
    """A list of what ``one`` describes. A mapping would lose its values, and a set has no first."""
    if type(given) is list or type(given) is tuple:  # what follows costs more than to read an address
        return given
    if isinstance(given, str | bytes | Mapping | Set) or not isinstance(given, Iterable):
        raise FieldError(f"must be {wanted}, not {type(given).__name__}; {one}", column=name)
    return given


def texts(name: str, given: Mapping[str, str]) -> dict[str, str]:
    if type(given) is not dict and not isinstance(given, Mapping):
        raise FieldError("must be a mapping of names to texts", column=name)
    return {text(name, key): text(f"{name}.{key}", value) for key, value in given.items()}


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise FieldError(f"must be text, not {type(value).__name__}", column=name)
    return value


def optional(name: str, value: Any) -> str | None:
    return None if value is None else text(name, value)


def truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise FieldError(f"must be True or False, not {type(value).__name__}", column=name)
    return value


def moment(at: Any) -> float:
    """Seconds since the epoch."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise FieldError("needs a time zone: datetime.now(UTC), not utcnow()", column="send_at")
        return at.timestamp()
    if not _is_number(at):
        raise FieldError("must be a datetime, or seconds since the epoch", column="send_at")
    if not at <= LATEST:  # nor NaN
        raise FieldError("must be before the year 10000, in seconds since the epoch", column="send_at")
    return float(at)


def lasting(length: Any) -> float:
    """In seconds."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if not _is_number(seconds) or not 0 < seconds < math.inf:
        raise FieldError("must be a timedelta or seconds, and more than nothing", column="expires_in")
    return float(min(seconds, LATEST))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise FieldError(f"{value!r} is none of: {', '.join(known)}", column=name)
    return value


def message_id(text: str) -> str:
    if not _MESSAGE_ID.fullmatch(text):
        raise FieldError("must look like <left@right.example>", column="headers.Message-ID")
    return text


def date(text: str) -> float:
    """Of a Date header, in seconds since the epoch."""
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        at = math.nan
    if not 0 <= at <= LATEST:
        complaint = "must look like 'Sat, 21 Nov 2026 14:00:00 +0000'"
        raise FieldError(complaint, column="headers.Date")
    return float(int(at))


def key(given: Any) -> str | None:
    """An idempotency key."""
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_KEY or UNSAFE.search(given):
        raise FieldError(f"must be a text of 1 to {LONGEST_KEY} characters", column="idempotency_key")
    return given
