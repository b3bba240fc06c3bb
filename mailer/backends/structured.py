"""A message in fields, for providers that want these instead of MIME.

What this program composed has its texts still at hand; what applications handed over finished is taken apart.
The stdlib parser does that MIME; its ``policy.default`` would take 4 ms for one message (measured),
``compat32`` takes a tenth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import getaddresses
from functools import lru_cache

from mailer.address import UNSAFE
from mailer.backends.parts import Part, lines, read
from mailer.message import Draft, Outgoing, Told

#: Written by whoever builds the MIME: a provider that takes fields builds its own.
_OF_THE_MIME = ("content-", "mime-version", "date", "message-id", "received", "return-path", "bcc")
#: One address without a name, as a row's own mostly is.
_BARE = re.compile(r'[^\s<>(),:;"\\\[\]@]+@[^\s<>(),:;"\\\[\]@]+')


class Unreadable(ValueError):
    """``Unreadable(reason)``: this message cannot be told in fields."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    addr: str
    name: str = ""

    def __str__(self) -> str:
        """``"Ada, Countess" <ada@example.org>``: for providers that take text and encode it themselves."""
        return _quoted(self.name, self.addr) if self.name else self.addr

    def pair(self, addr: str = "email", name: str = "name") -> dict[str, str]:
        """An object with these keys, the name left out where there is none."""
        return {addr: self.addr, name: self.name} if self.name else {addr: self.addr}


@lru_cache(maxsize=256)
def _quoted(name: str, addr: str) -> str:
    """The sender is the campaign's."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{addr}>'


@dataclass(frozen=True, slots=True)
class File:
    """An attachment, or with ``content_id`` an image that the HTML shows. ``data`` is base64 in one line."""

    name: str
    kind: str
    data: str
    content_id: str = ""

    def disposed(self) -> dict[str, str]:
        """As more than one provider wants it."""
        told = {"content": self.data, "filename": self.name, "type": self.kind}
        if self.content_id:
            return {**told, "disposition": "inline", "content_id": self.content_id}
        return {**told, "disposition": "attachment"}


@dataclass(slots=True)
class Fields:
    """One message in the words of a JSON API. To, Cc and Bcc follow the envelope, names the headers."""

    sender: Mailbox
    to: list[Mailbox]
    cc: list[Mailbox]
    bcc: list[Mailbox]
    reply_to: list[Mailbox]
    subject: str
    headers: dict[str, str]
    text: str | None = None
    html: str | None = None
    images: list[File] = field(default_factory=list)
    attachments: list[File] = field(default_factory=list)

    @property
    def files(self) -> list[File]:
        return [*self.images, *self.attachments]


def fields(message: Outgoing) -> Fields:
    """Raises Unreadable."""
    try:
        return _fields(message)
    except Unreadable:
        raise
    # The stdlib parser raises all of these for a message that somebody else wrote, RecursionError included.
    except (HeaderParseError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__} in a header or a text") from None


def _fields(message: Outgoing) -> Fields:
    content = message.content
    if isinstance(content, Draft):
        found = _addressed(message) if content.told is None else _as_told(message, content.told())
        found.text, found.html = content.text, content.html
        parts: Iterable[Part] = map(read, content.files)
    else:
        found = _addressed(message)
        parts = read(content).leaves()
    for part in parts:
        _take(part, found)
    return found


def _addressed(message: Outgoing) -> Fields:
    """What its headers and its envelope say."""
    head = {"from": "", "to": "", "cc": "", "reply-to": "", "subject": ""}
    others: dict[str, str] = {}
    for name, value in lines(message.head):
        lowered = _told_by(name)
        if lowered in head:
            head[lowered] = value
        elif lowered:
            _add(others, name, value)
    senders = _known_mailboxes(head["from"])
    if len(senders) != 1:
        raise Unreadable("no single From address")
    to, cc, bcc = _envelope(message.recipients, _mailboxes(head["to"]), _mailboxes(head["cc"]))
    reply_to = list(_known_mailboxes(head["reply-to"]))
    subject = _decoded(head["subject"])
    return Fields(senders[0], to, cc, bcc, reply_to, subject, headers=others)


def _as_told(message: Outgoing, told: Told) -> Fields:
    to, cc, bcc = _envelope(message.recipients, _boxes(told.to), _boxes(told.cc))
    others = dict(_others(told.more)) if told.more else {}
    return Fields(_box(told.sender), to, cc, bcc, _boxes(told.reply_to), told.subject, others)


def _boxes(pairs: Iterable[tuple[str, str]]) -> list[Mailbox]:
    return [Mailbox(addr, name) for addr, name in pairs]


@lru_cache(maxsize=256)
def _box(pair: tuple[str, str]) -> Mailbox:
    """The sender is the campaign's."""
    return Mailbox(*pair)


@lru_cache(maxsize=256)
def _others(head: bytes) -> tuple[tuple[str, str], ...]:
    """Headers that most messages of a campaign share."""
    others: dict[str, str] = {}
    for name, value in lines(head):
        if _told_by(name):
            _add(others, name, value)
    return tuple(others.items())


def _add(others: dict[str, str], name: str, value: str) -> None:
    if name in others:
        raise Unreadable(f"two headers {name}")
    others[name] = _decoded(value)


@lru_cache(maxsize=256)
def _told_by(name: str) -> str:
    """The header's name in lower case; "" for what only the MIME needs."""
    lowered = name.lower()
    return "" if lowered.startswith(_OF_THE_MIME) else lowered


def _envelope(
    recipients: tuple[str, ...], to: list[Mailbox], cc: list[Mailbox]
) -> tuple[list[Mailbox], list[Mailbox], list[Mailbox]]:
    """The envelope decides who gets it: it may have been redirected. Names come from the headers."""
    if len(recipients) == 1 and not cc and [one.addr for one in to] == [recipients[0]]:
        return to, cc, []
    named = {one.addr.casefold(): one for one in (*cc, *to)}
    copies = {one.addr.casefold() for one in cc}
    first, *rest = (named.get(addr.casefold(), Mailbox(addr)) for addr in recipients)
    shown = [one for one in rest if one.addr.casefold() in copies]
    hidden = [one for one in rest if one.addr.casefold() not in copies]
    return [first], shown, hidden


def _take(part: Part, found: Fields) -> None:
    says = part.says
    if says.kind == "text/plain" and not says.attached and found.text is None:
        found.text = part.text()
    elif says.kind == "text/html" and not says.attached and found.html is None:
        found.html = part.text()
    else:
        name = _decoded(says.name) or f"part.{says.kind.rpartition('/')[2]}"
        file = File(name, says.kind, part.base64(), "" if says.attached else says.identity)
        (found.images if file.content_id else found.attachments).append(file)


def _decoded(value: str) -> str:
    if "=?" in value:
        parts = decode_header(value)
        value = "".join(
            text if isinstance(text, str) else text.decode(charset or "ascii") for text, charset in parts
        )
    if not value.isprintable() and UNSAFE.search(value):
        raise Unreadable("a control character in a header")
    return value


@lru_cache(maxsize=256)
def _known_mailboxes(value: str) -> tuple[Mailbox, ...]:
    """From and Reply-To are the campaign's."""
    return tuple(_mailboxes(value))


def _mailboxes(value: str) -> list[Mailbox]:
    if not value:
        return []
    if _BARE.fullmatch(value):
        return [Mailbox(value)]
    return [Mailbox(addr, _decoded(name)) for name, addr in getaddresses([value]) if addr]
