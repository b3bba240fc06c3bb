"""Reading MAIL and RCPT: addresses, and the parameters that were offered."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from mailer.sink.config import Rule

_PATH = r':[ ]?<((?:"(?:[^"\\]|\\.)*"@)?[^<>\s]*)>((?: +[^ ]+)*) *'
_MAIL = re.compile("FROM" + _PATH, re.IGNORECASE)
_RCPT = re.compile("TO" + _PATH, re.IGNORECASE)
#: The extension that each parameter belongs to.
_EXTENSION = {
    "SIZE": "SIZE",
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "AUTH": "AUTH",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
}
_FOR_RCPT = frozenset({"NOTIFY", "ORCPT"})


@dataclass(slots=True)
class Envelope:
    """One transaction, from MAIL on."""

    sender: str
    options: str
    eight_bit: bool
    utf8: bool
    recipients: list[str] = field(default_factory=list)
    rcpt_options: list[str] = field(default_factory=list)
    chunks: bytearray | None = None  # of BDAT
    rule: Rule | None = None  # what will happen at the final dot


class Refusal(Exception):
    """``Refusal(reply)``: what to answer to an argument that cannot be taken."""


def read_mail(argument: str, offered: Collection[str], max_size: int) -> Envelope:
    """Raises Refusal."""
    sender, options = _read(_MAIL, argument, "MAIL FROM")
    upper = options.upper().split()
    _check(upper, offered, for_rcpt=False)
    _check_size(upper, max_size)
    envelope = Envelope(sender, options, "BODY=8BITMIME" in upper, "SMTPUTF8" in upper)
    _check_ascii(sender, envelope.utf8)
    return envelope


def read_rcpt(argument: str, offered: Collection[str], utf8: bool) -> tuple[str, str]:
    """Address and options. Raises Refusal."""
    recipient, options = _read(_RCPT, argument, "RCPT TO")
    if not recipient:
        raise Refusal("501 5.1.3 Empty address")
    _check(options.upper().split(), offered, for_rcpt=True)
    _check_ascii(recipient, utf8)
    return recipient, options


def _read(pattern: re.Pattern[str], argument: str, command: str) -> tuple[str, str]:
    matched = pattern.fullmatch(argument)
    if matched is None:
        raise Refusal(f"501 5.5.4 Syntax: {command}:<address>")
    return matched[1], matched[2].strip()


def _check(options: list[str], offered: Collection[str], *, for_rcpt: bool) -> None:
    for option in options:
        key, _, value = option.partition("=")
        if _EXTENSION.get(key) not in offered or (key in _FOR_RCPT) is not for_rcpt:
            raise Refusal("555 5.5.4 Unsupported option")
        if key == "BODY" and value not in {"7BIT", "8BITMIME"}:
            raise Refusal("501 5.5.4 BODY is 7BIT or 8BITMIME")


def _check_size(options: list[str], max_size: int) -> None:
    for option in options:
        key, _, value = option.partition("=")
        if key == "SIZE" and not (value.isascii() and value.isdigit()):
            raise Refusal("501 5.5.4 SIZE is a number")
        if key == "SIZE" and int(value) > max_size:
            raise Refusal("552 5.3.4 Message too large")


def _check_ascii(address: str, utf8: bool) -> None:
    if not (utf8 or address.isascii()):
        raise Refusal("553 5.6.7 Needs SMTPUTF8")
