"""What a sink has kept, read as a person reads mail: headers, text, HTML, attachments.

Nothing here trusts a message: it may be anybody's, and half of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path
from typing import Any

from mailer.sink.store import INDEX

#: What some headers are for, in words; shown beside them.
MEANINGS = {
    "authentication-results": "What a receiver found out about SPF, DKIM and DMARC.",
    "auto-submitted": "Sent by a program: vacation replies stay silent (RFC 3834).",
    "bcc": "Must never be seen here: copies go by the envelope alone.",
    "cc": "Who else it says it is for.",
    "content-type": "The outermost MIME part.",
    "date": "When it was sent; the same on every attempt.",
    "dkim-signature": "The sending domain vouches for the message (RFC 6376).",
    "feedback-id": "Lets Gmail count complaints by campaign.",
    "from": "Whom the reader sees as the sender; DMARC looks at its domain.",
    "in-reply-to": "The message that this one answers.",
    "list-id": "Names the list, so that readers can sort by it (RFC 2919).",
    "list-unsubscribe": "Where the reader's program can unsubscribe (RFC 2369).",
    "list-unsubscribe-post": "One click is enough, without a page to confirm (RFC 8058).",
    "message-id": "Unique, and the same on every attempt, so that copies can be recognised.",
    "mime-version": "Always 1.0.",
    "precedence": "An old hint to programs that answer by themselves.",
    "received": "A server that had it in its hands.",
    "reply-to": "Where an answer goes, in place of From.",
    "return-path": "Where bounces go.",
    "sender": "Who sent it in fact, when that is not From.",
    "subject": "Decoded from RFC 2047.",
    "to": "Whom it says it is for; the envelope decides who gets it.",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of the MIME tree. ``number`` names it in URLs."""

    number: int
    kind: str
    name: str
    size: int
    content_id: str
    attached: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """One message, taken apart. ``text`` and ``html`` are the first of their kind, or None."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    parts: list[Part]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class Mailbox:
    """A sink's folder. Messages are numbered from 1, by arrival; KeyError for one that is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = lru_cache(maxsize=512)(self._read_letter)

    def newest(self, most: int, search: str = "", before: int | None = None) -> list[dict[str, Any]]:
        """Envelope, sender and subject of the newest, newest first; ``search`` looks into all of these."""
        wanted, found = search.casefold(), list[dict[str, Any]]()
        for number, entry in self._entries():
            if before is not None and number >= before:
                continue
            letter = self._read(number)
            line = entry | {
                "number": number,
                "subject": letter.header("subject"),
                "from": letter.header("from"),
            }
            shown = " ".join(map(str, (line["subject"], line["from"], entry["sender"], *entry["recipients"])))
            if wanted in shown.casefold():
                found.append(line)
                if len(found) >= most:
                    break
        return found

    def letter(self, number: int) -> Letter:
        return self._read(number)

    def envelope(self, number: int) -> dict[str, Any]:
        return next(entry for n, entry in self._entries() if n == number)

    def source(self, number: int) -> bytes:
        """Byte for byte as it was taken."""
        try:
            return (self._folder / f"{number:08d}.eml").read_bytes()
        except FileNotFoundError:
            raise KeyError(number) from None

    def content(self, number: int, part: int) -> tuple[Part, bytes]:
        """One leaf, decoded."""
        about = next((one for one in self._read(number).parts if one.number == part), None)
        if about is None:
            raise KeyError(part)
        leaves = list(_leaves(self._message(number)))
        return about, _octets(leaves[part - 1])

    def _entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Newest first. The last line may still be on its way."""
        index = self._folder / INDEX
        text = index.read_text(encoding="utf-8") if index.exists() else ""
        for line in reversed(text[: text.rfind("\n") + 1].splitlines()):
            entry = json.loads(line)
            yield int(Path(entry["file"]).stem), entry

    def _message(self, number: int) -> EmailMessage:
        return message_from_bytes(self.source(number), policy=policy.default)

    def _read_letter(self, number: int) -> Letter:
        message = self._message(number)
        leaves = list(_leaves(message))
        parts = [_part(place, leaf) for place, leaf in enumerate(leaves, 1)]
        return Letter(
            headers=list(_headers(message)),
            text=_first(leaves, "text/plain"),
            html=_first(leaves, "text/html"),
            parts=parts,
        )


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    for part in message.walk():
        if not part.is_multipart():
            yield part


def _part(number: int, leaf: EmailMessage) -> Part:
    name = leaf.get_filename() or ""
    return Part(
        number=number,
        kind=leaf.get_content_type(),
        name=name,
        size=len(_octets(leaf)),
        content_id=str(leaf.get("Content-ID", "")).strip().strip("<>"),
        attached=leaf.get_content_disposition() == "attachment" or bool(name),
    )


def _octets(leaf: EmailMessage) -> bytes:
    payload = leaf.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _first(leaves: list[EmailMessage], kind: str) -> str | None:
    for leaf in leaves:
        if leaf.get_content_type() == kind and leaf.get_content_disposition() != "attachment":
            charset = leaf.get_content_charset() or "utf-8"
            try:
                return _octets(leaf).decode(charset, "replace")
            except LookupError:  # a character set that nobody knows
                return _octets(leaf).decode("utf-8", "replace")
    return None


def _headers(message: EmailMessage) -> Iterator[tuple[str, str]]:
    for name, raw in message.raw_items():
        try:
            yield name, str(message.policy.header_fetch_parse(name, raw))
        except Exception:  # noqa: BLE001 - the parser raises whatever a broken header makes it raise
            yield name, str(raw)
