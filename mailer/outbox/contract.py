"""What an application hands over, and what it is told.

Whatever is wrong with a message is an ``InputError`` before anything is stored. What was stored is sent:
a crash of the application right after ``send`` returned changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from mailer.message import State

#: One address or several: ``"Ada <ada@example.org>"``.
Addresses = str | Sequence[str]
#: The first is that of messages that name none.
STREAMS = ("transactional", "bulk")


@dataclass(frozen=True, slots=True)
class Attachment:
    """``type`` is guessed from the name. With ``content_id`` it is an image that the HTML shows as
    ``cid:content_id``."""

    name: str
    content: bytes = field(repr=False)
    type: str | None = None
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message. With ``template``, ``data`` are its variables; without, ``subject``, ``html`` and ``text``
    are what is sent, letter by letter. Everything else is literal too.

    ``to`` may be several addresses: one message that all of them get, with the first deciding its state.
    ``send_at`` needs a time zone. After ``expires_in`` (seconds or timedelta, from ``send_at`` or from now)
    it is not sent any more. ``idempotency_key``: see ``Mailer.send``.
    """

    template: str | None = None
    to: Addresses = ()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    subject: str | None = None
    html: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    sender: str | None = None
    cc: Addresses = ()
    bcc: Addresses = ()
    reply_to: Addresses = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Attachment | str] = ()  # a text is a path below the files folder
    language: str | None = None
    stream: str | None = None
    backend: str | None = None
    send_at: datetime | float | None = None
    expires_in: timedelta | float | None = None
    on_unknown: str | None = None
    sensitive: bool | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """It will be sent. ``created`` False: it had been handed over before, under the same key."""

    id: str
    created: bool = True


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt to deliver it."""

    number: int
    at: datetime
    state: State
    phase: str | None
    code: int | None
    enhanced: str | None
    text: str | None
    backend: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a message. ``reason`` is plain language; ``due_at`` is there while it waits for it."""

    id: str
    state: State
    to: str
    attempts: tuple[Try, ...] = ()
    reason: str | None = None
    outcome: str | None = None  # reported later: delivered, bounced, complained, ...
    due_at: datetime | None = None
    message_id: str | None = None
    template: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None  # what the next server calls it: its webhooks know the message by that


class Box(Protocol):
    """Where messages are put: the ledger, or an application's own tests. Safe for threads."""

    def put(self, messages: Sequence[Message]) -> list[Receipt]:
        """All of them or none. Raises InputError, IdempotencyConflict, LedgerError."""
        ...

    def status(self, id_: str) -> Status:
        """Raises UnknownMessage."""
        ...

    def cancel(self, id_: str) -> bool:
        """True: it will not be sent. False: too late. Raises UnknownMessage."""
        ...
