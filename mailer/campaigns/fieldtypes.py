"""What the keys of ``campaign.toml`` may hold. Every complaint says what to write instead."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from mailer.address import UNSAFE, Address, AddressError
from mailer.campaigns.durations import seconds
from mailer.campaigns.times import FORMS, moment
from mailer.content.celltypes import validate_type

_RATE = re.compile(
    r"\s*0*[1-9]\d{0,11}\s*(?:/|\bper\b)\s*(?:s|sec|second|min|minute|h|hour|d|day)\s*", re.IGNORECASE
)


def several(value: Any) -> Any:
    """One text stands for a list of one."""
    return [value] if isinstance(value, str) else value


def table(value: Any) -> Any:
    """Options give tables as ``KEY=VALUE``."""
    pairs = several(value)
    if not isinstance(pairs, list) or not all(isinstance(pair, str) for pair in pairs):
        return value
    if not all("=" in pair for pair in pairs):
        raise ValueError("must be KEY=VALUE")
    split = (pair.partition("=") for pair in pairs)
    return {key.strip(): cell.strip() for key, _, cell in split}


def _address(text: str) -> str:
    """An address, or a template that becomes one."""
    if "{{" not in text and "{%" not in text:
        try:
            Address.parse(text)
        except AddressError as error:
            raise ValueError(f"{text!r} is not an address. {error.reason}") from None
    return text


def _one_line(text: str) -> str:
    if UNSAFE.search(text):
        raise ValueError("must be one line without control characters")
    return text


def _rate(text: str) -> str:
    if not _RATE.fullmatch(text):
        raise ValueError(f'{text!r} is not a rate; write "20/s", "500/min", "10000/h" or "50000/d"')
    return text


def _cell_type(name: str) -> str:
    validate_type(name)
    return name


def _timezone(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write it like 'Europe/Berlin'") from None
    return name


def _locale(name: str) -> str:
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        raise ValueError(f"{name!r} is not a locale; write it like 'de' or 'pt_BR'") from None
    return name


def _unique(value: Any) -> Any:
    """An option can only say "false"."""
    if value is False or (isinstance(value, str | list) and several(value) == ["false"]):
        return ()
    return ("email",) if value is True else several(value)


def _backend(value: str) -> str:
    # The value would go into the ledger and into `status`; a name keeps the secret in mailer.toml.
    if "://" in value and ":" in value.partition("://")[2].partition("/")[0].rpartition("@")[0]:
        raise ValueError("a URL with a password does not belong here; name a backend of mailer.toml")
    return value


def _at_most_three_days(length: float) -> float:
    if length > 72 * 3600:
        raise ValueError('must be at most "72h"')
    return length


def _never_or(wanted: tuple[str, ...]) -> tuple[str, ...]:
    if "never" in wanted and len(wanted) > 1:  # RFC 3461, 4.1
        raise ValueError("'never' stands alone")
    return wanted


def _moment(value: Any, info: ValidationInfo) -> Any:
    """A local time is one of the campaign's own time zone, if it has one."""
    if isinstance(value, str | datetime):
        return moment(value, info.data.get("timezone"))
    raise ValueError(FORMS)


_Several = BeforeValidator(several)
OneLine = Annotated[str, AfterValidator(_one_line)]
MailAddress = Annotated[str, AfterValidator(_address), AfterValidator(_one_line)]
Strings = Annotated[tuple[str, ...], _Several]
Texts = Annotated[tuple[OneLine, ...], _Several]
Addresses = Annotated[tuple[MailAddress, ...], _Several]
Rates = Annotated[tuple[Annotated[str, AfterValidator(_rate)], ...], _Several]
Moment = Annotated[float, BeforeValidator(_moment)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Budget = Annotated[Seconds, AfterValidator(_at_most_three_days)]
Schedule = Annotated[tuple[Seconds, ...], _Several]
Reports = Annotated[
    tuple[Literal["never", "success", "failure", "delay"], ...], _Several, AfterValidator(_never_or)
]
Unique = Annotated[tuple[str, ...], BeforeValidator(_unique)]
Types = Annotated[dict[str, Annotated[str, AfterValidator(_cell_type)]], BeforeValidator(table)]
Headers = Annotated[dict[str, OneLine], BeforeValidator(table)]
BackendName = Annotated[str, AfterValidator(_backend)]
LocaleName = Annotated[str, AfterValidator(_locale)]
ZoneName = Annotated[str, AfterValidator(_timezone)]
