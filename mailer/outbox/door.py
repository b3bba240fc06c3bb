"""From what an application hands over to what is stored: everything is checked here, and proved to make a
message."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import PurePath
from typing import Any, NamedTuple

from mailer.address import Address
from mailer.content import letters
from mailer.content.attachments import contents
from mailer.content.columns import identifier
from mailer.content.contract import Composed
from mailer.content.identity import identity_of_letter, sending_domain
from mailer.errors import ContentError, FieldError, InputError, MissingData
from mailer.outbox import cells, fields, identity
from mailer.outbox.contract import STREAMS, Attachment, Message
from mailer.outbox.kinds import GIVEN, Kind, Kinds

_ON_UNKNOWN = ("hold", "retry")
#: Who gets it or is answered, beside To: name in the letter, name in a Message.
_OTHERS = (("cc", "cc"), ("bcc", "bcc"), ("reply-to", "reply_to"))

#: From headers to fields.
_FIELDS = {
    "Subject": "subject",
    "From": "sender",
    "To": "to",
    "Cc": "cc",
    "Bcc": "bcc",
    "Reply-To": "reply_to",
}

# The same with every message, and half a message's cost otherwise.
_variable = lru_cache(maxsize=10_000)(identifier)
_domain_of = lru_cache(maxsize=1000)(sending_domain)


class Checked(NamedTuple):
    """A message that can be sent: ``letter`` is what it is made of. A tuple, because thousands are made."""

    id: str
    kind: Kind
    to: Address
    sender: str  # its domain
    letter: Mapping[str, Any]
    cells: str
    author: str  # its address, without a name
    stream: str
    on_unknown: str
    sensitive: bool
    backend: str | None
    due_at: float
    key: str | None
    fingerprint: str  # empty without a key

    @property
    def composed(self) -> Composed:
        """What would be sent now."""
        with self.kind.lock:
            return self.kind.composer.compose(self.letter, self.to.addr, identity_of_letter(self.letter))


def checked(message: Message, kinds: Kinds, fingerprint: str | None = None) -> Checked:
    """``fingerprint`` is what its key stands for, in place of its content.

    Raises InputError: a FieldError, a TemplateError, or MissingData, which names all that is missing."""
    if not isinstance(message, Message):
        raise InputError(f"a message is a Message(...), not {type(message).__name__}")
    kind = kinds.get(fields.optional("template", message.template))
    to = fields.addresses("to", message.to)
    if not to:
        raise FieldError("it has no recipient", column="to")
    domain = _domain_of(_sender(message, kind))
    due_at = _due_at(message)
    letter = _wording(message, kind) | _extras(message, kinds) | _people(message, to)
    key = fields.key(message.idempotency_key)
    if key is not None and fingerprint is None:
        fingerprint = _fingerprint(message, letter)
    letter |= identity.made(message, domain, due_at or time.time())
    stored = cells.stored(letter)
    on_unknown = _or(message.on_unknown, kind.about.on_unknown or "hold")
    return Checked(
        id=letter["id"],
        kind=kind,
        to=to[0],
        sender=domain,
        letter=letter,
        cells=stored,
        author=_author(kind, letter, to[0], len(stored)),
        stream=fields.one_of("stream", _or(message.stream, kind.mail.stream), STREAMS),
        on_unknown=fields.one_of("on_unknown", on_unknown, _ON_UNKNOWN),
        sensitive=fields.truth("sensitive", _or(message.sensitive, kind.about.sensitive)),
        backend=fields.optional("backend", message.backend),
        due_at=due_at,
        key=key,
        fingerprint="" if key is None else fingerprint or "",
    )


def _or(own: Any, usual: Any) -> Any:
    return usual if own is None else own


def _due_at(message: Message) -> float:
    """0.0 is now, as is a time that has passed."""
    at = 0.0 if message.send_at is None else fields.moment(message.send_at)
    return at if at > time.time() else 0.0


def _author(kind: Kind, letter: Mapping[str, Any], to: Address, size: int) -> str:
    """Who would be its author now. A row that cannot be rendered is never stored."""
    data = letter.get("data", {})
    if not kind.needs <= data.keys() and (missing := sorted(kind.needs - _given(data))):
        raise _missing(kind, missing)
    try:
        with kind.lock:
            return kind.composer.examined(letter, to, identity_of_letter(letter), size)
    except MissingData as error:
        missing = sorted(kind.composer.used() - _given(data))
        whole = any(repr(name) in error.message for name in missing)  # or a part of one that is there
        raise (_missing(kind, missing) if whole else MissingData(_with_place(error))) from None
    except ContentError as error:
        raise _by_its_field(error, letter) from None


def named_senders(one: Checked) -> Iterator[tuple[str, str]]:
    """Field and address of whoever it says it is from: readers show Sender as well."""
    yield "sender", one.author
    for name, value in one.letter.get("headers", {}).items():
        if name.lower() == "sender":
            yield f"headers.{name}", Address.parse(value).addr


def _by_its_field(error: ContentError, letter: Mapping[str, Any]) -> ContentError:
    """A header is refused by its name; whoever handed the message over knows fields."""
    name = error.column
    if name is None:  # a filter that cannot do with a value, or all of it is too large
        return FieldError(_with_place(error), column="data", hint=error.hint) if error.file else error
    field = f"headers.{name}" if name in letter.get("headers", ()) else _FIELDS.get(name, name)
    return FieldError(error.message, column=field, hint=error.hint)


def _with_place(error: ContentError) -> str:
    return f"{error.message} (read in {error.file}, line {error.line})"


def _given(data: Mapping[str, Any]) -> set[str]:
    return {_variable(name) for name in data} | GIVEN


def _missing(kind: Kind, names: Sequence[str]) -> MissingData:
    listed = ", ".join(names)
    return MissingData(f"the template {kind.name!r} needs data for: {listed}", None, None, listed)


def _wording(message: Message, kind: Kind) -> dict[str, Any]:
    subject = {} if message.subject is None else {"subject": fields.text("subject", message.subject)}
    if kind.name:
        if message.html is not None or message.text is not None:
            raise FieldError("give either a template, or html and text", column="template")
        data = cells.data(message.data)
        if message.language is not None:
            data["language"] = fields.text("language", message.language)
        return {"template": kind.name, "data": data} | subject
    if message.subject is None or (message.html is None and message.text is None):
        missing = "subject" if message.subject is None else "text"
        raise FieldError("a message without a template needs a subject, and html or text", column=missing)
    for name in ("data", "language"):
        if getattr(message, name):
            raise FieldError(f"{name} is for templates; without one all is literal", column=name)
    bodies = {"html": message.html, "text": message.text}
    return subject | {name: fields.text(name, body) for name, body in bodies.items() if body is not None}


def _extras(message: Message, kinds: Kinds) -> dict[str, Any]:
    """What few messages have."""
    found = _attached(message, kinds) if message.attachments else {}
    if message.headers != {}:
        headers = fields.texts("headers", message.headers)
        if own := {name: text for name, text in headers.items() if not identity.is_said_by(name)}:
            found["headers"] = own
    if not fields.empty(message.tags):
        tags = fields.several("tags", message.tags, "a tag is text")
        if texts := [fields.text("tags", tag) for tag in tags]:
            found["tags"] = texts
    if message.metadata != {} and (metadata := fields.texts("metadata", message.metadata)):
        found["metadata"] = metadata
    return found


def _attached(message: Message, kinds: Kinds) -> dict[str, Any]:
    files: list[str] = []
    images: list[str] = []
    for one in fields.several("attachments", message.attachments, "one is an Attachment or a path"):
        try:
            attachment = _well_formed(one) if isinstance(one, Attachment) else _read(one, kinds)
            part = letters.part(attachment.name, attachment.content, attachment.type, attachment.content_id)
        except ContentError as error:
            raise FieldError(error.message, column="attachments", hint=error.hint) from None
        (files if attachment.content_id is None else images).append(part)
    return {name: parts for name, parts in (("files", files), ("images", images)) if parts}


def _well_formed(one: Attachment) -> Attachment:
    if not isinstance(one.name, str) or not one.name:
        raise FieldError("an attachment needs a name", column="attachments")
    if not isinstance(one.content, bytes):
        raise FieldError(f"the content of {one.name!r} must be bytes", column="attachments")
    fields.optional("attachments", one.type)
    fields.optional("attachments", one.content_id)
    return one


def _read(path: Any, kinds: Kinds) -> Attachment:
    if not isinstance(path, str | PurePath):
        raise FieldError("must be an Attachment, or a path below the files folder", column="attachments")
    return Attachment(str(path), contents(kinds.files_root, str(path)))


def _people(message: Message, to: Sequence[Address]) -> dict[str, Any]:
    stored: dict[str, Any] = {"to": [fields.written(one) for one in to]}
    for name, field in _OTHERS:
        given = getattr(message, field)
        if not fields.empty(given) and (found := fields.addresses(field, given)):
            stored[name] = [fields.written(one) for one in found]
    if message.sender:
        stored["from"] = fields.written(fields.address("sender", message.sender))
    return stored


def _sender(message: Message, kind: Kind) -> str:
    """As text, because a template's may be one itself."""
    sender = fields.optional("sender", message.sender) or kind.about.sender
    if not sender:
        where = f"in {kind.name}/mail.toml" if kind.name else "with the message"
        raise FieldError("there is no sender", column="sender", hint=f"Give one {where}.")
    return sender


def _fingerprint(message: Message, letter: Mapping[str, Any]) -> str:
    """Equal for the same wish, whenever it comes: a retry in the application must not be a conflict."""
    wish = [letter, message.backend, message.on_unknown, str(message.send_at), str(message.expires_in)]
    return sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()
