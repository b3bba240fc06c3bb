"""What single fields of a message may hold. Every function raises ContentError that names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from mailer.address import UNSAFE, Address, AddressError
from mailer.errors import ContentError
from mailer.outbox.contract import Addresses

#: Characters of a key; more is no key but content.
LONGEST_KEY = 255


def addresses(name: str, given: Addresses) -> list[Address]:
    if isinstance(given, str):
        return [address(name, given)]
    return [address(name, text) for text in given]


def address(name: str, given: Any) -> Address:
    try:
        return Address.parse(text(name, given))
    except AddressError as error:
        raise ContentError(f"not an address: {error.reason}", column=name) from None


def written(one: Address) -> str:
    """As ``Address.parse`` reads it again."""
    if not one.name:
        return one.addr
    name = one.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{one.addr}>'


def texts(name: str, given: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ContentError("must be a mapping of names to texts", column=name)
    return {text(name, key): text(name, value) for key, value in given.items()}


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ContentError(f"must be text, not {type(value).__name__}", column=name)
    return value


def moment(at: Any) -> float:
    """Seconds since the epoch."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ContentError("needs a time zone: datetime.now(UTC), not utcnow()", column="send_at")
        return at.timestamp()
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise ContentError("must be a datetime, or seconds since the epoch", column="send_at")
    return float(at)


def lasting(length: timedelta | float) -> float:
    """In seconds."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if not seconds > 0:
        raise ContentError("must be more than nothing", column="expires_in")
    return seconds


def one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ContentError(f"{value!r} is none of: {', '.join(known)}", column=name)
    return value


def key(given: Any) -> str | None:
    """An idempotency key."""
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_KEY or UNSAFE.search(given):
        raise ContentError(f"must be a text of 1 to {LONGEST_KEY} characters", column="idempotency_key")
    return given
