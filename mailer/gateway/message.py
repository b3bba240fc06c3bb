"""From what came over SMTP to what leaves: the bytes are kept, but for the headers that say otherwise.

A Message-ID and a Date are added when they are missing; Bcc and our own ``X-Mailer-…`` headers are taken out.
A header that mail readers could read in two ways is refused: who may send as whom hangs on it.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

from mailer.address import UNSAFE, Address, AddressError
from mailer.content import headers
from mailer.gateway.admission import Guest
from mailer.outbox.contract import STREAMS
from mailer.outbox.fields import LONGEST_KEY
from mailer.outbox.intake import Finished
from mailer.sink.envelope import Refusal

#: Octets of a line, with its CR: RFC 5321 4.5.3.1.6.
LONGEST_LINE = 999
#: Octets of all headers together.
LARGEST_HEAD = 256_000
LONGEST_TAG = 100

_STREAM, _TAG, _KEY = b"x-mailer-stream", b"x-mailer-tag", b"x-mailer-idempotency-key"
_REMOVED = frozenset({b"bcc", b"resent-bcc", _STREAM, _TAG, _KEY})
#: Headers that name who it is from; each must be allowed.
_OWN = (b"from", b"sender", b"resent-from", b"resent-sender")

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n\0]++|\r\n[ \t])*+)\r\n")
_COMMENTED = re.compile(r"([^\s<>()\"]+) *\([^()<>@\"\\]*\)")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")


@dataclass(frozen=True, slots=True)
class Handed:
    """What a session has received completely."""

    guest: Guest
    sender: str  # as in MAIL FROM; "" is the null sender
    recipients: tuple[Address, ...]
    utf8: bool
    body: bytes = field(repr=False)


@dataclass(slots=True)
class _Head:
    """The headers: ``kept`` as they were, the others by lower-case name."""

    kept: list[bytes]
    values: dict[bytes, list[str]]

    def one(self, name: bytes) -> str | None:
        found = self.values.get(name, [])
        if len(found) > 1:
            raise Refusal(f"550 5.6.0 More than one {name.decode().title()} header")
        return found[0] if found else None


def finished(handed: Handed) -> Finished:
    """Raises Refusal: the reply that says what is wrong."""
    if b"\0" in handed.body:  # RFC 5322 4; servers that drop it would see another end of the message
        raise Refusal("550 5.6.0 A NUL octet: encode what is not text as base64")
    if max(map(len, handed.body.split(b"\n"))) > LONGEST_LINE:
        raise Refusal("550 5.6.0 A line is longer than 998 octets: encode it as quoted-printable or base64")
    head, rest = _split(handed.body)
    sender = _from(head, handed.guest)
    added, message_id = _added(head, sender)
    beyond_ascii = not (sender.addr + handed.sender + "".join(to.addr for to in handed.recipients)).isascii()
    return Finished(
        data=b"".join((*added, *head.kept, rest)),
        sender=handed.sender,
        recipients=handed.recipients,
        domain=sender.domain,
        message_id=message_id,
        smtputf8=handed.utf8 and (beyond_ascii or not b"".join(head.kept).isascii()),
        stream=_stream(head),
        tags=_tags(head),
        client=handed.guest.client,
        key=_key(head),
        fingerprint=_fingerprint(handed, head),
    )


def _split(body: bytes) -> tuple[_Head, bytes]:
    """The headers, and the rest from the empty line on."""
    head = _Head([], {})
    at = 0
    while at < len(body) and not body.startswith(b"\r\n", at):
        found = _FIELD.match(body, at)
        if found is None or found.end() > LARGEST_HEAD:
            raise Refusal("550 5.6.0 The headers cannot be read, or are too long")
        at = found.end()
        name = found[1].lower()
        head.values.setdefault(name, []).append(_text(name, found[2]))
        if name not in _REMOVED:
            head.kept.append(found[0])
    return head, body[at:] or b"\r\n"


def _text(name: bytes, value: bytes) -> str:
    text = value.replace(b"\r\n", b"").decode("utf-8", "replace").replace("\t", " ").strip(" ")
    if name in _OWN and UNSAFE.search(text):
        raise Refusal(f"550 5.6.0 A control character in {name.decode().title()}")
    return text


def _from(head: _Head, guest: Guest) -> Address:
    """The address in From. Whatever else names a sender must be allowed too."""
    found = {name: _address(name, head.one(name)) for name in _OWN if head.one(name) is not None}
    if b"from" not in found:
        raise Refusal("550 5.6.0 There is no From header")
    for name, address in found.items():
        if not guest.may_send_as(address.addr):
            raise Refusal(f"550 5.7.1 This key may not send as what {name.decode().title()} says")
    return found[b"from"]


def _address(name: bytes, text: str | None) -> Address:
    try:
        return _parsed(text or "")
    except AddressError:
        raise Refusal(f"550 5.6.0 {name.decode().title()} is not one address") from None


@lru_cache(maxsize=256)
def _parsed(text: str) -> Address:
    """``a@b``, ``Name <a@b>`` or the old ``a@b (Name)``. An application has few of them."""
    commented = _COMMENTED.fullmatch(text)
    return Address.parse(commented[1] if commented else text)


def _added(head: _Head, sender: Address) -> tuple[list[bytes], str]:
    """What is missing, and the Message-ID that it has then."""
    added = []
    message_id = head.one(b"message-id")
    if not message_id:
        message_id = f"<{secrets.token_hex(12)}@{sender.domain}>"
        added.append(headers.token("Message-ID", message_id))
    if b"date" not in head.values:
        added.append(headers.date(float(int(time.time()))))
    found = _MESSAGE_ID.search(message_id)
    return added, found[0] if found else message_id[:900].encode("ascii", "replace").decode()


def _stream(head: _Head) -> str:
    stream = (head.one(_STREAM) or STREAMS[0]).lower()
    if stream not in STREAMS:
        raise Refusal("550 5.6.0 X-Mailer-Stream is transactional or bulk")
    return stream


def _tags(head: _Head) -> tuple[str, ...]:
    """Several in one header, or one in each."""
    tags = [tag.strip() for text in head.values.get(_TAG, []) for tag in text.split(",")]
    if any(len(tag) > LONGEST_TAG or UNSAFE.search(tag) for tag in tags):
        raise Refusal(f"550 5.6.0 X-Mailer-Tag holds texts of at most {LONGEST_TAG} characters")
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def _key(head: _Head) -> str | None:
    key = head.one(_KEY)
    if key is not None and (not 0 < len(key) <= LONGEST_KEY or UNSAFE.search(key)):
        raise Refusal(f"550 5.6.0 X-Mailer-Idempotency-Key is a text of 1 to {LONGEST_KEY} characters")
    return key


def _fingerprint(handed: Handed, head: _Head) -> str:
    """By sender and subject: an application that tries again builds the message anew, with another date,
    Message-ID and boundaries."""
    wish: Sequence[object] = [handed.sender, head.values[b"from"], head.values.get(b"subject", [])]
    return sha256(json.dumps(wish).encode()).hexdigest()
