"""From finished parts to one message: the head in its order, the body behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mailer.address import Address
from mailer.content import headers, mime
from mailer.content.contract import Composed, Identity
from mailer.errors import ContentError
from mailer.message import Told

#: Octets of a finished message. Few servers take more.
MESSAGE_LIMIT = 35_000_000


class Own(NamedTuple):
    """What one message has beside its template, all of it literal and checked. A tuple: most have little."""

    sender: Address | None = None
    to: tuple[Address, ...] = ()  # all of the To header, the row's own recipient first
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()  # in place of the template's
    subject: str | None = None  # in place of the template's
    lines: bytes = b""  # finished header lines
    files: tuple[bytes, ...] = ()  # finished parts
    images: tuple[bytes, ...] = ()  # finished parts that the HTML shows by ``cid:``

    @property
    def nameless(self) -> bool:
        """Its addresses can be written as they are."""
        if self.sender is not None and self.sender.name:
            return False
        return not any(one.name for one in self.to + self.cc + self.bcc + self.reply_to)


NOTHING = Own()


@dataclass(slots=True)
class Head:
    """Everything above the body. ``sender_line`` is the From line where it is known already."""

    sender: Address
    to: Sequence[Address]
    subject: str
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    sender_line: bytes | None = None
    more: bytes = b""  # finished lines
    return_path: str | None = None  # default: the sender's address


def head_lines(head: Head, identity: Identity) -> tuple[bytes, ...]:
    """Raises ContentError: a header that cannot be written."""
    return (
        headers.date(identity.date),
        head.sender_line or headers.addresses("From", [head.sender]),
        headers.addresses("To", head.to),
        headers.addresses("Cc", head.cc) if head.cc else b"",
        headers.addresses("Reply-To", head.reply_to) if head.reply_to else b"",
        headers.text("Subject", head.subject),
        headers.token("Message-ID", identity.message_id),
        b"MIME-Version: 1.0\r\n",
        head.more,
    )


def assembled(head: Head, body: mime.Body, identity: Identity) -> Composed:
    """Raises ContentError: a header that cannot be written, or a message that nobody would take."""
    made = body.under(b"".join(head_lines(head, identity)), identity.seed)
    made.told = partial(_told, head)  # most backends never ask
    if made.most > MESSAGE_LIMIT and len(made.data) > MESSAGE_LIMIT:
        raise ContentError(f"the message is larger than {MESSAGE_LIMIT} bytes")
    everybody = [*head.to, *head.cc, *head.bcc]
    beyond_ascii = not "".join([one.local for one in (head.sender, *everybody, *head.reply_to)]).isascii()
    return Composed(
        sender=head.sender.addr if head.return_path is None else head.return_path,
        recipients=_once_each(everybody),
        content=made,
        eight_bit=beyond_ascii and not made.head.isascii(),  # all the rest is encoded
        smtputf8=beyond_ascii,
        author=head.sender.addr,
    )


def _told(head: Head) -> Told:
    return Told(
        _named(head.sender),
        tuple(map(_named, head.to)),
        tuple(map(_named, head.cc)),
        tuple(map(_named, head.reply_to)),
        head.subject,
        head.more,
    )


def _named(one: Address) -> tuple[str, str]:
    return one.addr, one.name


def _once_each(everybody: Sequence[Address]) -> tuple[str, ...]:
    """Envelope addresses; the first spelling of each wins, so the row's own recipient stays first."""
    if len(everybody) == 1:
        return (everybody[0].addr,)
    found: dict[str, str] = {}
    for one in everybody:
        found.setdefault(one.key, one.addr)
    return tuple(found.values())
