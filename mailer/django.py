"""Django's e-mail through the mailer: ``EMAIL_BACKEND = "mailer.django.EmailBackend"``.

Understands the attributes of django-anymail: ``template_id``, ``merge_data``, ``merge_global_data``,
``merge_metadata``, ``merge_headers``, ``metadata``, ``tags`` and ``send_at``; sets ``anymail_status``. What
cannot be expressed is an error, not a silence: ``esp_extra``, ``envelope_sender``, tracking, a body beside a
template.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.message import Message as MimeMessage
from email.utils import formataddr, getaddresses, parseaddr
from functools import cache
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone
from django.utils.functional import Promise

from mailer import Attachment, Mailer, Message
from mailer.errors import InputError, MailerError

#: Attributes of anymail that have no meaning here; nothing is tracked, so False asks for what is.
_FOREIGN = ("esp_extra", "envelope_sender", "track_opens", "track_clicks")
#: One of these, even an empty one, gives each recipient a message of their own, as with anymail.
_MERGING = ("merge_data", "merge_metadata", "merge_headers")
#: What anymail calls a message that was taken and has not left yet.
QUEUED = "queued"


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What is known of one recipient right after sending."""

    message_id: str
    status: str = QUEUED


@dataclass(frozen=True, slots=True)
class AnymailStatus:
    """As anymail's, after sending: ``message_id`` is an id for ``Mailer.status``; of several, the set."""

    message_id: str | set[str] | None
    recipients: Mapping[str, RecipientStatus]
    esp_response: None = None

    @property
    def status(self) -> set[str]:
        return {one.status for one in self.recipients.values()}


@cache
def shared_mailer() -> Mailer:
    """The one Mailer of this process; its settings are those of ``mailer.toml``."""
    return Mailer()


class EmailBackend(BaseEmailBackend):
    """Returns when the messages are in the ledger; each gets ``mailer_ids``, to ask ``Mailer.status``, and
    ``anymail_status``."""

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
        ids = [receipt.id for receipt in receipts]
        message.mailer_ids = ids
        message.anymail_status = _status(wishes, ids)
        return bool(receipts)


def _status(wishes: Sequence[Message], ids: Sequence[str]) -> AnymailStatus:
    recipients = {
        parseaddr(address)[1]: RecipientStatus(id_)
        for wish, id_ in zip(wishes, ids, strict=True)
        for address in (*wish.to, *wish.cc, *wish.bcc)
    }
    return AnymailStatus(ids[0] if len(ids) == 1 else set(ids) or None, recipients)


def _wishes(message: EmailMessage) -> Iterator[Message]:
    """One message, or one for each recipient when there is anything to merge."""
    if not message.recipients():
        return
    _refuse_foreign(message)
    if not (message.to or message.cc):  # blind copies alone: nobody may see another's address
        for recipient in message.bcc:
            yield _merged(message, recipient, cc=[], bcc=[])
    elif all(getattr(message, name, None) is None for name in _MERGING):
        yield Message(
            **_common(message),
            to=list(message.to or message.cc),
            cc=list(message.cc if message.to else ()),
            bcc=list(message.bcc),
            data=_template_data(message),
        )
    else:
        for recipient in message.to:
            yield _merged(message, recipient, cc=list(message.cc), bcc=list(message.bcc))


def _refuse_foreign(message: EmailMessage) -> None:
    for name in _FOREIGN:
        if getattr(message, name, None):
            raise InputError(f"{name} cannot be expressed here: take it away from the message")
    if getattr(message, "template_id", None):
        return
    for name in ("merge_data", "merge_global_data"):
        if any((getattr(message, name, None) or {}).values()):
            raise InputError(f"{name} needs a template_id: without a template everything is literal")


def _merged(message: EmailMessage, recipient: str, *, cc: list[str], bcc: list[str]) -> Message:
    bare = parseaddr(recipient)[1]
    common = _common(message)
    common["metadata"] = common["metadata"] | _plain(_of(message, "merge_metadata", bare))
    common["headers"] = common["headers"] | _plain(_of(message, "merge_headers", bare))
    data = _template_data(message) | _spoken(_of(message, "merge_data", bare))
    return Message(**common, to=[recipient], cc=cc, bcc=bcc, data=data)


def _of(message: EmailMessage, name: str, recipient: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (getattr(message, name, None) or {}).get(recipient) or {}
    return found


def _template_data(message: EmailMessage) -> dict[str, Any]:
    spoken: dict[str, Any] = _spoken(getattr(message, "merge_global_data", None) or {})
    return spoken


def _spoken(value: Any) -> Any:
    """With Django's lazy translations as they read now; everything else stays what it is."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _spoken(one) for name, one in value.items()}
    return [_spoken(one) for one in value] if isinstance(value, list | tuple) else value


def _common(message: EmailMessage) -> dict[str, Any]:
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    sender = headers.pop("From", None) or message.from_email
    answers = headers.pop("Reply-To", None)  # wins over the attribute, as in Django
    common = {
        "sender": None if sender is None else str(sender),
        "reply_to": [str(one) for one in message.reply_to] if answers is None else _addresses(answers),
        "headers": headers,
        "attachments": [_attachment(one) for one in message.attachments],
        "tags": [str(tag) for tag in getattr(message, "tags", None) or ()],
        "metadata": _plain(getattr(message, "metadata", None) or {}),
        "send_at": _moment(getattr(message, "send_at", None)),
    }
    template = getattr(message, "template_id", None)
    if template:
        if str(message.body or "").strip() or getattr(message, "alternatives", None):
            raise InputError("a body beside a template_id cannot be expressed here: leave it empty")
        subject = {"subject": str(message.subject)} if message.subject else {}
        return common | {"template": str(template)} | subject
    return common | {"subject": str(message.subject)} | _bodies(message)


def _addresses(text: str) -> list[str]:
    return [formataddr(one) for one in getaddresses([text])]


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
