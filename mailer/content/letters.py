"""A message that an application hands over by itself: kept as one JSON object, and made from nothing else.

Attachments are kept as finished parts, encoded once; what was handed over in place of a template is
literal text, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailer.address import Address
from mailer.content import mime, plaintext
from mailer.content.assembly import Head, Own, assembled, head_lines
from mailer.content.composer import MailComposer, compile_mail
from mailer.content.contract import Composed, Identity, MailSpec, Package, RowFile
from mailer.content.dryrun import certainly_fits
from mailer.content.header_lines import custom_line, mailbox
from mailer.errors import ContentError

#: The package of messages that have no template.
INLINE = Package("", {})

Letter = Mapping[str, Any]

#: What few letters have.
_SELDOM = frozenset(("from", "cc", "bcc", "reply-to", "subject", "headers", "files", "images"))


def composer(package: Package, spec: MailSpec, *, files_root: Path | str | None = None) -> LetterComposer:
    """Raises TemplateError or ContentError, as compiling a campaign's mail does."""
    if not package.files:
        return LetterComposer(None)
    root = None if files_root is None else Path(files_root)
    return LetterComposer(compile_mail(package, spec, files_root=root))


class LetterComposer:
    """The Composer of the contract; its cells are the letter. Not for several threads at once."""

    def __init__(self, template: MailComposer | None) -> None:
        self._template = template

    def used(self) -> frozenset[str]:
        """What the template reads of the data."""
        return frozenset() if self._template is None else self._template.used() - {"email", "language"}

    def compose(self, cells: Letter, to: str, identity: Identity, files: Sequence[RowFile] = ()) -> Composed:
        """Raises ContentError, and nothing else for any letter."""
        own = _own(cells)
        if self._template is None:
            return _literal(cells, own, identity)
        data = {"email": to} | cells.get("data", {})
        return self._template.compose(data, to, identity, files, own)

    def examined(self, cells: Letter, to: Address, identity: Identity, size: int) -> str:
        """The author of what ``compose`` would make, and cheaper. Raises as it does. ``size`` is what the
        letter takes as JSON, in characters; it can be encoded as UTF-8."""
        own = _own(cells, to)
        if self._template is None:
            return _literal_author(cells, own, identity, size)
        data = {"email": to.addr} | cells.get("data", {})
        return self._template.examined(data, to.addr, identity, own, size)


def part(name: str, data: bytes, kind: str | None = None, content_id: str | None = None) -> str:
    """An attachment as letters keep it; with ``content_id`` it is shown by the HTML. Raises ContentError."""
    return mime.attachment(name, data, kind, content_id).decode("ascii")


def _own(letter: Letter, first: Address | None = None) -> Own:
    """``first`` was read already."""
    texts = letter.get("to")
    to = (first,) if first is not None and texts == [first.addr] else _mailboxes("To", texts)
    if _SELDOM.isdisjoint(letter):
        return Own(to=to)
    return Own(
        sender=mailbox("From", letter["from"]) if "from" in letter else None,
        to=to,
        cc=_mailboxes("Cc", letter.get("cc")),
        bcc=_mailboxes("Bcc", letter.get("bcc")),
        reply_to=_mailboxes("Reply-To", letter.get("reply-to")),
        subject=letter.get("subject"),
        lines=_lines(letter["headers"]) if "headers" in letter else b"",
        files=_encoded(letter["files"]) if "files" in letter else (),
        images=_encoded(letter["images"]) if "images" in letter else (),
    )


def _mailboxes(name: str, texts: Sequence[str] | None) -> tuple[Address, ...]:
    return tuple([mailbox(name, text) for text in texts]) if texts else ()


def _lines(own: Mapping[str, str]) -> bytes:
    return b"".join([custom_line(name, text) for name, text in own.items()])


def _encoded(parts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple([text.encode("ascii") for text in parts])


def _literal_author(letter: Letter, own: Own, identity: Identity, size: int) -> str:
    """Literal bodies of a known length can be encoded; text that is made of HTML has none."""
    if "text" not in letter or not certainly_fits(size):
        return _literal(letter, own, identity).author
    head = _literal_head(own)
    head_lines(head, identity)
    return head.sender.addr


def _literal(letter: Letter, own: Own, identity: Identity) -> Composed:
    head = _literal_head(own)
    html, text = letter.get("html"), letter.get("text")
    if text is None and html is not None:
        text = plaintext.of(html)
    return assembled(head, mime.Body(text, html, mime.Parts(images=own.images), own.files), identity)


def _literal_head(own: Own) -> Head:
    if own.sender is None:
        raise ContentError("there is no sender", column="From")
    return Head(
        sender=own.sender,
        to=own.to,
        cc=own.cc,
        bcc=own.bcc,
        reply_to=own.reply_to,
        subject=own.subject or "",
        more=own.lines,
    )
