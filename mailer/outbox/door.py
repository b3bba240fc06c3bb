"""From what an application hands over to what is stored: everything is checked, and rendered once, here."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from mailer.address import UNSAFE, Address, AddressError
from mailer.content import letters
from mailer.content.attachments import contents
from mailer.content.columns import identifier
from mailer.content.contract import Composed
from mailer.content.identity import identity_of_letter, sending_domain
from mailer.errors import ContentError, MissingData
from mailer.outbox.contract import Addresses, Attachment, Message
from mailer.outbox.kinds import Kind, Kinds

STREAMS = ("transactional", "bulk")
#: Characters of a key; more is no key but content.
LONGEST_KEY = 255
#: Characters of the stored message; about the largest that servers take.
LARGEST = 40_000_000

_FIELDS = {
    "Subject": "subject",
    "From": "sender",
    "To": "to",
    "Cc": "cc",
    "Bcc": "bcc",
    "Reply-To": "reply_to",
}

#: A template's variables are the same with every message, and half a message's cost otherwise.
_variable = lru_cache(maxsize=10_000)(identifier)


@dataclass(frozen=True, slots=True)
class Checked:
    """A message that can be sent: ``letter`` is what it is made of."""

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


def checked(message: Message, kinds: Kinds) -> Checked:
    """Raises TemplateError or ContentError that names what is wrong; MissingData names all of it."""
    kind = kinds.get(message.template)
    to = _addresses("to", message.to)
    if not to:
        raise ContentError("it has no recipient", column="to")
    sender = _sender(message, kind)
    due_at = 0.0 if message.send_at is None else _moment(message.send_at)
    letter = _content(message, kind, kinds) | _people(message, to) | _marks(message)
    fingerprint = "" if message.idempotency_key is None else _fingerprint(message, letter)
    letter |= _identity(message, sender, due_at or time.time())
    cells = _stored(letter)
    on_unknown = message.on_unknown or kind.about.on_unknown or "hold"
    return Checked(
        id=letter["id"],
        kind=kind,
        to=to[0],
        sender=sending_domain(sender),
        letter=letter,
        cells=cells,
        author=_author(kind, letter, to[0], len(cells)),
        stream=_one_of("stream", message.stream or kind.mail.stream, STREAMS),
        on_unknown=_one_of("on_unknown", on_unknown, ("hold", "retry")),
        sensitive=kind.about.sensitive if message.sensitive is None else message.sensitive,
        backend=message.backend,
        due_at=due_at,
        key=_key(message.idempotency_key),
        fingerprint=fingerprint,
    )


def _stored(letter: Mapping[str, Any]) -> str:
    cells = _as_json(letter)
    if len(cells) > LARGEST:
        raise ContentError(f"the message is larger than {LARGEST} characters")
    try:
        cells.encode()
    except UnicodeEncodeError:
        raise ContentError("The text holds half of a character pair (a lone surrogate).") from None
    return cells


def _author(kind: Kind, letter: Mapping[str, Any], to: Address, size: int) -> str:
    """Who would be its author now. A row that cannot be rendered is never stored."""
    data = letter.get("data", {})
    given = {_variable(name) for name in data} | {"email", "language"}
    try:
        missing = sorted({_variable(name) for name in kind.about.variables} - given)
        if missing:
            raise _missing(kind, missing)
        with kind.lock:
            return kind.composer.examined(letter, to.addr, identity_of_letter(letter), size)
    except MissingData as error:
        missing = sorted(kind.composer.used() - given)
        whole = any(repr(name) in error.message for name in missing)  # or a part of one that is there
        raise (_missing(kind, missing) if whole else error) from None
    except ContentError as error:
        raise _by_its_field(error, letter) from None


def _by_its_field(error: ContentError, letter: Mapping[str, Any]) -> ContentError:
    """A header is refused by its name; whoever handed the message over knows fields."""
    name = error.column or ""
    field = f"headers.{name}" if name in letter.get("headers", ()) else _FIELDS.get(name, name)
    return ContentError(error.message, error.file, error.line, field or None, error.hint)


def _missing(kind: Kind, names: Sequence[str]) -> MissingData:
    listed = ", ".join(names)
    return MissingData(f"the template {kind.name!r} needs data for: {listed}", None, None, listed)


def _identity(message: Message, sender: str, at: float) -> dict[str, Any]:
    """What makes it itself, the same on every attempt (I7)."""
    # Time first: neighbours in time are neighbours in the index.
    id_ = f"{int(at * 1000):011x}{secrets.token_hex(8)}"
    own = {"id": id_, "date": float(int(at)), "message_id": f"<{id_}@{sending_domain(sender)}>"}
    if message.expires_in is None:
        return own
    length = message.expires_in
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if not seconds > 0:
        raise ContentError("must be more than nothing", column="expires_in")
    return own | {"expires_at": at + seconds}


def _content(message: Message, kind: Kind, kinds: Kinds) -> dict[str, Any]:
    content = _wording(message, kind) | _attached(message, kinds)
    headers = _texts("headers", message.headers)
    return content | ({"headers": headers} if headers else {})


def _wording(message: Message, kind: Kind) -> dict[str, Any]:
    subject = {} if message.subject is None else {"subject": _text("subject", message.subject)}
    if kind.name:
        if message.html is not None or message.text is not None:
            raise ContentError("give either a template, or html and text", column="template")
        data = _data(message.data)
        if message.language is not None:
            data["language"] = _text("language", message.language)
        return {"template": kind.name, "data": data} | subject
    if message.subject is None or (message.html is None and message.text is None):
        raise ContentError("a message without a template needs a subject, and html or text")
    if message.data:
        raise ContentError("data is for templates; without one everything is literal", column="data")
    bodies = {"html": message.html, "text": message.text}
    return subject | {name: _text(name, body) for name, body in bodies.items() if body is not None}


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    """As the ledger gives it back: what is rendered now is what is rendered then."""
    if not isinstance(data, Mapping):
        raise ContentError("must be a mapping of names to values", column="data")
    try:
        plain: dict[str, Any] = json.loads(_as_strict_json(dict(data)))
    except (TypeError, ValueError) as error:
        raise ContentError(f"cannot be stored: {error}", column="data") from None
    return plain


# Made once: ``json.dumps`` with options makes an encoder for each call.
_as_json = json.JSONEncoder(ensure_ascii=False).encode


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"a {type(value).__name__} is no text, number, date, list or mapping")


_as_strict_json = json.JSONEncoder(default=_plain, allow_nan=False).encode


def _attached(message: Message, kinds: Kinds) -> dict[str, Any]:
    files: list[str] = []
    images: list[str] = []
    for one in message.attachments:
        attachment = one if isinstance(one, Attachment) else _read(one, kinds)
        if not isinstance(attachment.content, bytes):
            raise ContentError(f"the content of {attachment.name!r} must be bytes", column="attachments")
        part = letters.part(attachment.name, attachment.content, attachment.type, attachment.content_id)
        (files if attachment.content_id is None else images).append(part)
    return {name: parts for name, parts in (("files", files), ("images", images)) if parts}


def _read(path: Any, kinds: Kinds) -> Attachment:
    if not isinstance(path, str):
        raise ContentError("must be an Attachment, or a path below the files folder", column="attachments")
    return Attachment(path, contents(kinds.files_root, path))


def _people(message: Message, to: Sequence[Address]) -> dict[str, Any]:
    people = {
        "to": to,
        "cc": _addresses("cc", message.cc),
        "bcc": _addresses("bcc", message.bcc),
        "reply-to": _addresses("reply_to", message.reply_to),
        "from": _addresses("sender", message.sender or ()),
    }
    stored = {name: [_written(one) for one in found] for name, found in people.items() if found}
    return stored | ({"from": stored["from"][0]} if "from" in stored else {})


def _sender(message: Message, kind: Kind) -> str:
    """As text, because a template's may be one itself."""
    sender = message.sender or kind.about.sender
    if not sender:
        where = f"in {kind.name}/mail.toml" if kind.name else "with the message"
        raise ContentError("there is no sender", column="sender", hint=f"Give one {where}.")
    return sender


def _addresses(name: str, given: Addresses) -> list[Address]:
    texts = [given] if isinstance(given, str) else list(given)
    found = []
    for text in texts:
        try:
            found.append(Address.parse(_text(name, text)))
        except AddressError as error:
            raise ContentError(f"not an address: {error.reason}", column=name) from None
    return found


def _written(one: Address) -> str:
    if not one.name:
        return one.addr
    name = one.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{one.addr}>'


def _marks(message: Message) -> dict[str, Any]:
    tags = [_text("tags", tag) for tag in message.tags]
    metadata = _texts("metadata", message.metadata)
    return {name: value for name, value in (("tags", tags), ("metadata", metadata)) if value}


def _texts(name: str, given: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ContentError("must be a mapping of names to texts", column=name)
    return {_text(name, key): _text(name, value) for key, value in given.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ContentError(f"must be text, not {type(value).__name__}", column=name)
    return value


def _moment(at: Any) -> float:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ContentError("needs a time zone: datetime.now(UTC), not utcnow()", column="send_at")
        return at.timestamp()
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise ContentError("must be a datetime, or seconds since the epoch", column="send_at")
    return float(at)


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ContentError(f"{value!r} is none of: {', '.join(known)}", column=name)
    return value


def _key(key: Any) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or UNSAFE.search(key):
        raise ContentError(f"must be a text of 1 to {LONGEST_KEY} characters", column="idempotency_key")
    return key


def _fingerprint(message: Message, letter: Mapping[str, Any]) -> str:
    """Equal for the same wish, whenever it comes: a retry in the application must not be a conflict."""
    wish = [letter, message.backend, message.on_unknown, str(message.send_at), str(message.expires_in)]
    return sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()
