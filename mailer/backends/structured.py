"""A finished message taken apart again, for providers that want fields instead of MIME.

Reads what this program wrote, and what applications handed over finished. The stdlib parser does the MIME;
its ``policy.default`` would take 4 ms for one message (measured), ``compat32`` takes a tenth.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses

from mailer.address import UNSAFE
from mailer.message import Outgoing

#: Written by whoever builds the MIME: a provider that takes fields builds its own.
_OF_THE_MIME = ("content-", "mime-version", "date", "message-id", "received", "return-path", "bcc")
_FIELDS = frozenset({"from", "to", "cc", "reply-to", "subject"})


class Unreadable(ValueError):
    """``Unreadable(reason)``: this message cannot be told in fields."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    addr: str
    name: str = ""

    def __str__(self) -> str:
        """``"Ada, Countess" <ada@example.org>``: for providers that take text and encode it themselves."""
        if not self.name:
            return self.addr
        quoted = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{self.addr}>'

    def pair(self, addr: str = "email", name: str = "name") -> dict[str, str]:
        """An object with these keys, the name left out where there is none."""
        return {addr: self.addr, name: self.name} if self.name else {addr: self.addr}


@dataclass(frozen=True, slots=True)
class File:
    """An attachment, or with ``content_id`` an image that the HTML shows. ``data`` is base64 in one line."""

    name: str
    kind: str
    data: str
    content_id: str = ""


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
    parsed = message_from_bytes(message.data)
    head = {"from": "", "to": "", "cc": "", "reply-to": "", "subject": ""}
    others: dict[str, str] = {}
    for name, raw in parsed.raw_items():
        lowered, value = name.lower(), _unfolded(str(raw))
        if lowered in _FIELDS:
            head[lowered] = value
        elif not lowered.startswith(_OF_THE_MIME):
            if name in others:
                raise Unreadable(f"two headers {name}")
            others[name] = _decoded(value)
    senders = _mailboxes(head["from"])
    if len(senders) != 1:
        raise Unreadable("no single From address")
    to, cc, bcc = _envelope(message.recipients, _mailboxes(head["to"]), _mailboxes(head["cc"]))
    found = Fields(
        senders[0], to, cc, bcc, _mailboxes(head["reply-to"]), _decoded(head["subject"]), headers=others
    )
    for part in _leaves(parsed):
        _take(part, found)
    return found


def _envelope(
    recipients: tuple[str, ...], to: list[Mailbox], cc: list[Mailbox]
) -> tuple[list[Mailbox], list[Mailbox], list[Mailbox]]:
    """The envelope decides who gets it: it may have been redirected. Names come from the headers."""
    named = {one.addr.casefold(): one for one in (*cc, *to)}
    copies = {one.addr.casefold() for one in cc}
    first, *rest = (named.get(addr.casefold(), Mailbox(addr)) for addr in recipients)
    shown = [one for one in rest if one.addr.casefold() in copies]
    hidden = [one for one in rest if one.addr.casefold() not in copies]
    return [first], shown, hidden


def _leaves(message: Message) -> Iterator[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _take(part: Message, found: Fields) -> None:
    kind = part.get_content_type()
    attached = part.get_content_disposition() == "attachment"
    if kind == "text/plain" and not attached and found.text is None:
        found.text = _text(part)
    elif kind == "text/html" and not attached and found.html is None:
        found.html = _text(part)
    else:
        identity = str(part.get("Content-ID") or "").strip("<> ")
        name = _decoded(part.get_filename() or "") or f"part.{kind.rpartition('/')[2]}"
        file = File(name, kind, _base64(part), "" if attached else identity)
        (found.images if file.content_id else found.attachments).append(file)


def _text(part: Message) -> str:
    octets = part.get_payload(decode=True)
    text = bytes(octets).decode(part.get_content_charset() or "utf-8", "replace")
    return text.replace("\r\n", "\n")


def _base64(part: Message) -> str:
    if str(part.get("Content-Transfer-Encoding", "")).lower() == "base64":
        return "".join(str(part.get_payload()).split())  # as we encoded it, without its line ends
    octets = part.get_payload(decode=True)
    return b64encode(bytes(octets)).decode("ascii")


def _unfolded(raw: str) -> str:
    joined = raw.replace("\r", "").replace("\n", "")
    return joined.encode("ascii", "surrogateescape").decode("utf-8") if not joined.isascii() else joined


def _decoded(value: str) -> str:
    if "=?" in value:
        parts = decode_header(value)
        value = "".join(
            text if isinstance(text, str) else text.decode(charset or "ascii") for text, charset in parts
        )
    if UNSAFE.search(value):
        raise Unreadable("a control character in a header")
    return value


def _mailboxes(value: str) -> list[Mailbox]:
    if not value:
        return []
    return [Mailbox(addr, _decoded(name)) for name, addr in getaddresses([value]) if addr]
