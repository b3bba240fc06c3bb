"""From a message of Django, with attributes of anymail, to what is handed over."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from email.message import Message as MimeMessage
from email.utils import getaddresses, parseaddr
from typing import Any

from django.core.mail import BadHeaderError, EmailMessage, EmailMultiAlternatives
from django.utils import timezone
from django.utils.functional import Promise

from mailer import Attachment, Message
from mailer.errors import FieldError, InputError

#: Attributes of anymail that have no meaning here; nothing is tracked, so False asks for what is.
_FOREIGN = ("esp_extra", "envelope_sender", "track_opens", "track_clicks")
#: One of these, even an empty one, gives each recipient a message of their own, as with anymail.
_MERGING = ("merge_data", "merge_metadata", "merge_headers")
#: From headers to attributes.
_FIELDS = {"Subject": "subject", "From": "from_email"}


class HeaderRefused(InputError, BadHeaderError):
    """A line break in a header: Django's own error, which applications catch."""


def wishes(message: EmailMessage) -> Iterator[Message]:
    """One message, or one for each recipient when there is anything to merge. Raises InputError."""
    if not message.recipients():
        return
    _refuse_foreign(message)
    _refuse_line_breaks(message)
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    to, cc = _named(headers, "To", message.to), _named(headers, "Cc", message.cc)
    bcc = _texts(message.bcc)
    common = _common(message, headers)
    if not (to or cc):  # blind copies alone: nobody may see another's address
        for recipient in bcc:
            yield _merged(message, common, recipient, cc=[], bcc=[])
    elif all(_set(message, name) is None for name in _MERGING):
        data = _template_data(message)
        yield Message(**common, to=to or cc, cc=cc if to else [], bcc=bcc, data=data)
    else:
        for recipient in to:
            yield _merged(message, common, recipient, cc=cc, bcc=bcc)


def _set(message: EmailMessage, name: str) -> Any:
    """None when it was not given, for which anymail's own message class has a class of this name."""
    value = getattr(message, name, None)
    return None if getattr(value, "__name__", None) == "UNSET" else value


def _texts(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values if value]


def _named(headers: dict[str, str], name: str, actual: Iterable[Any]) -> list[str]:
    """Those who get it, in the words of the header that names them, if there is one."""
    texts = _texts(actual)
    shown = headers.pop(name, None)
    if shown is None:
        return texts
    known = {address.lower(): address for _, address in getaddresses(texts)}
    named = getaddresses([shown])
    if {address.lower() for _, address in named} != known.keys():
        raise InputError(
            f"the header {name} names others than those who get the message, which cannot be expressed here:"
            f" put them into {name.lower()}, and those whom nobody may see into bcc",
            column=f"headers.{name}",
        )
    return [_written(words, known[address.lower()]) for words, address in named]


def _refuse_line_breaks(message: EmailMessage) -> None:
    headers = {"Subject": message.subject, "From": message.from_email, **message.extra_headers}
    for name, value in headers.items():
        if {"\n", "\r"} & set(str(value)):
            raise HeaderRefused(
                "a header cannot hold a line break", column=_FIELDS.get(name, f"headers.{name}")
            )


def _refuse_foreign(message: EmailMessage) -> None:
    for name in _FOREIGN:
        if _set(message, name):
            raise InputError(f"{name} cannot be expressed here: take it away from the message")
    if _set(message, "template_id"):
        return
    for name in ("merge_data", "merge_global_data"):
        if any((_set(message, name) or {}).values()):
            raise InputError(f"{name} needs a template_id: without a template everything is literal")


def _merged(
    message: EmailMessage, common: Mapping[str, Any], recipient: str, *, cc: list[str], bcc: list[str]
) -> Message:
    bare = parseaddr(recipient)[1]
    own = {
        "metadata": common["metadata"] | _plain(_of(message, "merge_metadata", bare)),
        "headers": common["headers"] | _plain(_of(message, "merge_headers", bare)),
    }
    data = _template_data(message) | _spoken(_of(message, "merge_data", bare))
    return Message(**{**common, **own}, to=[recipient], cc=cc, bcc=bcc, data=data)


def _of(message: EmailMessage, name: str, recipient: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (_set(message, name) or {}).get(recipient) or {}
    return found


def _template_data(message: EmailMessage) -> dict[str, Any]:
    spoken: dict[str, Any] = _spoken(_set(message, "merge_global_data") or {})
    return spoken


def _spoken(value: Any) -> Any:
    """With Django's lazy translations as they read now; everything else stays what it is."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _spoken(one) for name, one in value.items()}
    return [_spoken(one) for one in value] if isinstance(value, list | tuple) else value


def _common(message: EmailMessage, headers: dict[str, str]) -> dict[str, Any]:
    sender = headers.pop("From", None) or message.from_email
    answers = headers.pop("Reply-To", None)  # wins over the attribute, as in Django
    common = {
        "sender": None if sender is None else str(sender),
        "reply_to": _texts(message.reply_to) if answers is None else _addresses(answers),
        "headers": headers,
        "attachments": [_attachment(one) for one in message.attachments],
        "tags": [str(tag) for tag in _set(message, "tags") or ()],
        "metadata": _plain(_set(message, "metadata") or {}),
        "send_at": _moment(_set(message, "send_at")),
    }
    template = _set(message, "template_id")
    if template:
        if str(message.body or "").strip() or getattr(message, "alternatives", None):
            raise InputError("a body beside a template_id cannot be expressed here: leave it empty")
        subject = {"subject": str(message.subject)} if message.subject else {}
        return common | {"template": str(template)} | subject
    return common | {"subject": str(message.subject)} | _bodies(message)


def _addresses(text: str) -> list[str]:
    return [_written(*one) for one in getaddresses([text])]


def _written(words: str, address: str) -> str:
    """Not as ``formataddr``, which encodes what is not ASCII."""
    quoted = words.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>' if words else address


def _bodies(message: EmailMessage) -> dict[str, str]:
    bodies = {"html" if message.content_subtype == "html" else "text": str(message.body)}
    if isinstance(message, EmailMultiAlternatives):
        for content, kind in message.alternatives:
            name = {"text/html": "html", "text/plain": "text"}.get(str(kind))
            if name is None or bodies.get(name):
                raise InputError(
                    f"an alternative of type {kind} cannot be sent: one HTML and one text can; attach it"
                )
            bodies[name] = str(content)
    return {name: body for name, body in bodies.items() if body} or {"text": ""}


def _attachment(given: Any) -> Attachment:
    if isinstance(given, MimeMessage):
        return _part(given)
    name, content, kind = given
    if isinstance(content, EmailMessage):
        content = content.message()
    if isinstance(content, MimeMessage):
        content = _octets(content)
    if isinstance(content, str):
        content = content.encode()
    if kind and kind.startswith("message/"):
        return _letter(name, content)
    return Attachment(name or f"attachment{mimetypes.guess_extension(kind or '') or ''}", content, kind)


def _part(given: MimeMessage) -> Attachment:
    kind, name = given.get_content_type(), given.get_filename()
    if given.get_content_maintype() == "message":
        return _letter(name, b"".join(map(_octets, given.get_payload())))
    content = given.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise InputError("an attachment that has parts itself cannot be sent: attach it as bytes")
    content_id = given["Content-ID"]
    return Attachment(
        name or f"attachment{mimetypes.guess_extension(kind) or ''}",
        content,
        kind,
        content_id.strip("<> ") if content_id else None,
    )


def _octets(message: MimeMessage) -> bytes:
    """Django's own classes take no policy."""
    return re.sub(rb"\r?\n", b"\r\n", message.as_bytes())


def _letter(name: str | None, content: bytes) -> Attachment:
    """A message as a file: as a part of its own type it could not be encoded (RFC 2046 section 5.2.1)."""
    return Attachment(name or "message.eml", content, "application/octet-stream")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): str(value) for name, value in values.items()}


def _moment(at: Any) -> Any:
    """As anymail takes it: a naive time is in Django's current zone, a date is its midnight."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise FieldError("must be a time, such as 2026-12-01T09:00", column="send_at") from None
    if isinstance(at, datetime):
        return at.replace(tzinfo=timezone.get_current_timezone()) if at.tzinfo is None else at
    if isinstance(at, date):
        return datetime(at.year, at.month, at.day, tzinfo=timezone.get_current_timezone())
    return at
