"""What a message is known by, the same on every attempt (I7): its id, its Message-ID and its date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mailer.outbox import fields, names
from mailer.outbox.contract import Message

#: Headers by which an application says it itself: name in the letter, and how they are read.
_SAID: dict[str, tuple[str, Callable[[str], Any]]] = {
    "message-id": ("message_id", fields.message_id),
    "date": ("date", fields.date),
}


def is_said_by(header: str) -> bool:
    """Such a header is no part of what a message says: who tries again may have made another."""
    return header.lower() in _SAID


def made(message: Message, domain: str, at: float) -> dict[str, Any]:
    """Its headers are texts. Raises ContentError."""
    id_ = names.public(at)
    own: dict[str, Any] = {"id": id_, "date": float(int(at)), "message_id": f"<{id_}@{domain}>"}
    for header, text in message.headers.items():
        if is_said_by(header):
            name, read = _SAID[header.lower()]
            own[name] = read(text)
    if message.expires_in is not None:
        own["expires_at"] = at + fields.lasting(message.expires_in)
    return own
