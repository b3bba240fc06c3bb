"""Django's e-mail through the mailer: ``EMAIL_BACKEND = "mailer.django.EmailBackend"``.

Understands the attributes of django-anymail: ``template_id``, ``merge_data``, ``merge_global_data``,
``merge_metadata``, ``merge_headers``, ``metadata``, ``tags`` and ``send_at``. What cannot be expressed
(``esp_extra``, ``envelope_sender``, tracking) is an error, not a silence.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from email.message import Message as MimeMessage
from functools import cache
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from mailer import Attachment, Mailer, Message
from mailer.errors import InputError, MailerError

#: Attributes of anymail that have no meaning here.
_FOREIGN = ("esp_extra", "envelope_sender", "track_opens", "track_clicks")
_MERGING = ("merge_data", "merge_global_data", "merge_metadata", "merge_headers")


@cache
def shared_mailer() -> Mailer:
    """The one Mailer of this process; its settings are those of ``mailer.toml``."""
    return Mailer()


class EmailBackend(BaseEmailBackend):
    """Returns when the messages are in the ledger; each gets ``mailer_ids``, to ask ``Mailer.status``."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """How many were handed over. Raises InputError and LedgerError unless ``fail_silently``."""
        count = 0
        for message in email_messages or ():
            try:
                count += self._send(message)
            except MailerError:
                if not self.fail_silently:
                    raise
        return count

    def _send(self, message: EmailMessage) -> int:
        wishes = list(_wishes(message))
        receipts = shared_mailer().send_many(wishes)
        message.mailer_ids = [receipt.id for receipt in receipts]
        return bool(receipts)


def _wishes(message: EmailMessage) -> Iterator[Message]:
    """One message, or one for each recipient when there is anything to merge."""
    for name in _FOREIGN:
        if getattr(message, name, None) is not None:
            raise InputError(f"{name} cannot be expressed here: take it away from the message")
    if not message.recipients():
        return
    merges = [name for name in _MERGING if getattr(message, name, None) is not None]
    if not merges:
        yield Message(**_common(message), **_to(message), data=_template_data(message))
        return
    if not getattr(message, "template_id", None) and {"merge_data", "merge_global_data"} & set(merges):
        raise InputError("merge_data needs a template_id: without a template everything is literal")
    for recipient in message.to:
        yield _merged(message, recipient)


def _merged(message: EmailMessage, recipient: str) -> Message:
    from email.utils import parseaddr

    bare = parseaddr(recipient)[1]
    common = _common(message)
    common["metadata"] = common["metadata"] | _of(message, "merge_metadata", bare)
    common["headers"] = common["headers"] | _of(message, "merge_headers", bare)
    data = _template_data(message) | _of(message, "merge_data", bare)
    return Message(**common, **(_to(message) | {"to": [recipient]}), data=data)


def _of(message: EmailMessage, name: str, recipient: str) -> dict[str, Any]:
    return _plain((getattr(message, name, None) or {}).get(recipient) or {})


def _template_data(message: EmailMessage) -> dict[str, Any]:
    return dict(getattr(message, "merge_global_data", None) or {})


def _to(message: EmailMessage) -> dict[str, Any]:
    """A message may have Bcc only; then the first of those is its recipient."""
    to, cc, bcc = list(message.to), list(message.cc), list(message.bcc)
    return {"to": to or cc or bcc, "cc": cc if to else [], "bcc": bcc if to or cc else []}


def _common(message: EmailMessage) -> dict[str, Any]:
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    sender = headers.pop("From", None) or message.from_email
    common = {
        "sender": None if sender is None else str(sender),
        "reply_to": [str(one) for one in message.reply_to],
        "headers": headers,
        "attachments": [_attachment(one) for one in message.attachments],
        "tags": [str(tag) for tag in getattr(message, "tags", None) or ()],
        "metadata": _plain(getattr(message, "metadata", None) or {}),
        "send_at": _moment(getattr(message, "send_at", None)),
    }
    template = getattr(message, "template_id", None)
    if template:
        subject = {"subject": str(message.subject)} if message.subject else {}
        return common | {"template": str(template)} | subject
    return common | {"subject": str(message.subject)} | _bodies(message)


def _bodies(message: EmailMessage) -> dict[str, str]:
    bodies = {"html" if message.content_subtype == "html" else "text": str(message.body)}
    if isinstance(message, EmailMultiAlternatives):
        for content, kind in message.alternatives:
            name = {"text/html": "html", "text/plain": "text"}.get(str(kind))
            if name is None or bodies.get(name):
                raise InputError(f"an alternative of type {kind} cannot be sent: one HTML and one text can")
            bodies[name] = str(content)
    return {name: body for name, body in bodies.items() if body} or {"text": ""}


def _attachment(given: Any) -> Attachment:
    if isinstance(given, MimeMessage):
        content = given.get_payload(decode=True)
        if not isinstance(content, bytes):
            raise InputError("an attachment that has parts itself cannot be sent: attach it as bytes")
        content_id = given["Content-ID"]
        return Attachment(
            given.get_filename() or f"attachment{mimetypes.guess_extension(given.get_content_type()) or ''}",
            content,
            given.get_content_type(),
            content_id.strip("<> ") if content_id else None,
        )
    name, content, kind = given
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes):
        raise InputError("an attached message cannot be sent: attach its bytes")
    return Attachment(name or "attachment", content, kind)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): str(value) for name, value in values.items()}


def _moment(at: Any) -> datetime | float | None:
    """As anymail takes it: a naive time is in Django's current zone, a date is its midnight."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if isinstance(at, datetime):
        return at.replace(tzinfo=timezone.get_current_timezone()) if at.tzinfo is None else at
    if isinstance(at, date):
        return datetime(at.year, at.month, at.day, tzinfo=timezone.get_current_timezone())
    return None if at is None else float(at)
