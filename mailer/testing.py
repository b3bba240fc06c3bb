"""A test double for applications: what they hand over is checked and rendered for real, and sent nowhere.

With pytest nothing has to be set up::

    def test_signing_up_sends_a_welcome(mailer_outbox):
        sign_up("ada@example.org")
        (message,) = mailer_outbox.messages
        assert message.to == ("ada@example.org",)
        assert "Welcome" in message.subject

Elsewhere: ``with mailer.testing.outbox() as box:``. It stands in for every Mailer of the process.
"""

from __future__ import annotations

import email
import email.policy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from mailer.client import mailer as client
from mailer.errors import IdempotencyConflict, UnknownMessage
from mailer.message import Outgoing, State
from mailer.outbox.contract import Message, Receipt, Status
from mailer.outbox.door import Checked, checked
from mailer.outbox.kinds import Kinds
from mailer.settings import Settings

__all__ = ["Outbox", "Sent", "outbox"]


@dataclass(frozen=True)
class Sent:
    """One message as it would have gone out."""

    id: str
    wish: Message  # what was handed over
    outgoing: Outgoing

    @property
    def to(self) -> tuple[str, ...]:
        """Everybody who gets it, as in the envelope: Cc and Bcc too."""
        return self.outgoing.recipients

    @property
    def template(self) -> str | None:
        return self.wish.template

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.wish.data)

    @property
    def message(self) -> EmailMessage:
        """As an independent parser reads it."""
        return email.message_from_bytes(self.outgoing.data, policy=email.policy.default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str | None:
        return self._body("plain")

    @property
    def html(self) -> str | None:
        return self._body("html")

    def _body(self, kind: str) -> str | None:
        part = self.message.get_body((kind,))
        return None if part is None else str(part.get_content()).replace("\r\n", "\n")


class Outbox:
    """Implements ``Box`` in memory. ``messages`` are in the order in which they were handed over."""

    def __init__(self, kinds: Kinds) -> None:
        self.messages: list[Sent] = []
        self._kinds = kinds
        self._lock = threading.Lock()
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}
        self._states: dict[str, Status] = {}

    def put(self, messages: Sequence[Message]) -> list[Receipt]:
        ready = [(message, checked(message, self._kinds)) for message in messages]
        with self._lock:
            keys = dict(self._keys)
            receipts = [_receipt(one, keys) for _, one in ready]
            self._keys = keys
            for (wish, one), receipt in zip(ready, receipts, strict=True):
                if receipt.created:
                    self._keep(wish, one)
        return receipts

    def status(self, id_: str) -> Status:
        if id_ not in self._states:
            raise UnknownMessage(f"there is no message {id_!r}")
        return self._states[id_]

    def cancel(self, id_: str) -> bool:
        """As if none were on its way yet."""
        with self._lock:
            status = self.status(id_)
            self._states[id_] = replace(status, state=State.CANCELLED)
            self.messages = [one for one in self.messages if one.id != id_]
            return status.state is State.PENDING

    def clear(self) -> None:
        """Forget what was handed over, and every key."""
        with self._lock:
            self.messages.clear()
            self._keys.clear()
            self._states.clear()

    def _keep(self, wish: Message, one: Checked) -> None:
        made = one.composed
        outgoing = Outgoing(
            id=len(self._states) + 1,
            fence=0,
            sender=made.sender,
            recipients=made.recipients,
            content=made.data,
            message_id=one.letter["message_id"],
            eight_bit=made.eight_bit,
            smtputf8=made.smtputf8,
        )
        self.messages.append(Sent(one.id, wish, outgoing))
        self._states[one.id] = Status(
            id=one.id,
            state=State.PENDING,
            to=one.to.addr,
            message_id=outgoing.message_id,
            template=wish.template,
            tags=tuple(wish.tags),
            metadata=dict(wish.metadata),
        )


def _receipt(one: Checked, keys: dict[tuple[str, str], tuple[str, str]]) -> Receipt:
    if one.key is None:
        return Receipt(one.id)
    first, fingerprint = keys.setdefault((one.stream, one.key), (one.id, one.fingerprint))
    if fingerprint != one.fingerprint:
        raise IdempotencyConflict(
            f"the idempotency key {one.key!r} was used for another message: give this one its own key"
        )
    return Receipt(first, created=first == one.id)


@contextmanager
def outbox(templates: Path | None = None, files: Path | None = None) -> Iterator[Outbox]:
    """Every Mailer of this process puts its messages here meanwhile. ``templates`` and ``files`` are folders;
    default: those of the settings. No ledger, broker or backend is needed."""
    if templates is None or files is None:
        settings = Settings.load()
        templates, files = templates or settings.template_root, files or settings.files_root
    box, before = Outbox(Kinds(templates, files)), client.double
    client.double = box
    try:
        yield box
    finally:
        client.double = before
