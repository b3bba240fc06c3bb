"""The MIME tree of a campaign, put together by splicing octets.

mixed( alternative( text, related( html, images ) ), attachments ), leaving out every level that would
hold one thing only. Images and shared attachments are encoded once; per message only the texts are.
"""

from __future__ import annotations

import mimetypes
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from mailer.content.encoding import encoded_octets, encoded_text, in_lines
from mailer.content.headers import parameter
from mailer.errors import ContentError
from mailer.message import Draft

_WORD = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}"
#: With parameters, as an invitation's ``text/calendar; method=REQUEST``.
_TYPE = re.compile(rf"{_WORD}/{_WORD}(?:; ?{_WORD}={_WORD}){{0,4}}", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}")
#: These must not be base64 (RFC 2046 section 5), so they travel as what they are: files.
_COMPOSITE = ("message/", "multipart/")


@dataclass(frozen=True, slots=True)
class Parts:
    """What never changes from message to message, encoded."""

    images: Sequence[bytes] = ()
    shared: Sequence[bytes] = ()


class Body:
    """What one message says and holds, not encoded yet. Raises ContentError: a text that cannot be."""

    def __init__(self, text: str | None, html: str | None, parts: Parts, files: Sequence[bytes]) -> None:
        self.text = None if text is None else in_lines(text)
        self.html = None if html is None else in_lines(html)
        self.images = () if html is None else parts.images
        # What no HTML shows is a file like any other; it must not be lost.
        self.files = (*parts.shared, *files, *(parts.images if html is None else ()))

    def under(self, head: bytes, seed: str) -> Draft:
        """The message with these header lines. ``seed`` makes its boundaries."""
        return Draft(head, self.text, self.html, (*self.images, *self.files), partial(self._encoded, seed))

    def _encoded(self, seed: str) -> list[bytes]:
        """Content headers, the empty line and everything after it, as pieces to join. Ends in CRLF."""
        stem = _boundary_stem(seed)
        entity = _alternative(self.text, self.html, self.images, stem)
        if self.files:
            entity = _multipart(b"mixed", stem + b"m", [entity, *([part] for part in self.files)])
        return entity


def attachment(name: str, data: bytes, kind: str | None = None, content_id: str | None = None) -> bytes:
    """One finished part; with ``content_id`` the HTML shows it by ``cid:``.

    ``name`` may have folders, which are left out. It tells the type where none is given. Raises
    ContentError.
    """
    file_name = posixpath.basename(name.replace("\\", "/"))
    if kind is None:
        kind = content_type(file_name)
    elif not _TYPE.fullmatch(kind) or kind.lower().startswith(_COMPOSITE):
        raise ContentError(f"not a type for an attachment: {kind[:80]!r}", column="attachments")
    if content_id is not None and not _CONTENT_ID.fullmatch(content_id):
        raise ContentError(f"not a Content-ID: {content_id[:80]!r}", column="attachments")
    how = "attachment" if content_id is None else "inline"
    shown = "" if content_id is None else f"Content-ID: <{content_id}>\r\n"
    disposition = f"Content-Disposition: {how}{parameter('filename', file_name)}\r\n"
    return _octets(kind, shown + disposition, data)


def content_id(data: bytes) -> str:
    """The same image has the same id in every message, so its part is encoded once."""
    return f"{sha256(data).hexdigest()[:32]}@mailer"


def content_type(name: str) -> str:
    """By extension, from Python's own table: the machine's files may say something else."""
    kind, packed = _TYPES.guess_type(name)
    if kind is None or packed or kind.startswith(_COMPOSITE):
        return "application/octet-stream"
    return kind


def _boundary_stem(seed: str) -> bytes:
    """The same for the same message. ``=_`` cannot occur in any encoded part."""
    return b"=_" + sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:28].encode()


def _alternative(text: str | None, html: str | None, images: Sequence[bytes], stem: bytes) -> list[bytes]:
    choices = [] if text is None else [_text(b"plain", text)]
    if html is not None:
        entity = _text(b"html", html)
        if images:
            root = b'related; type="text/html"'
            entity = _multipart(root, stem + b"r", [entity, *([image] for image in images)])
        choices.append(entity)
    if len(choices) == 1:
        return choices[0]
    return _multipart(b"alternative", stem + b"a", choices)


def _text(kind: bytes, text: str) -> list[bytes]:
    encoding, data = encoded_text(text)
    head = b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: %b\r\n\r\n'
    return [head % (kind, encoding), data]


def _multipart(kind: bytes, boundary: bytes, entities: Sequence[list[bytes]]) -> list[bytes]:
    pieces = [b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n' % (kind, boundary)]
    opening = b"\r\n--%b\r\n" % boundary
    for entity in entities:
        pieces.append(opening)
        pieces += entity
    pieces.append(b"\r\n--%b--\r\n" % boundary)
    return pieces


def _octets(kind: str, extra: str, data: bytes) -> bytes:
    head = f"Content-Type: {kind}\r\n{extra}Content-Transfer-Encoding: base64\r\n\r\n"
    return head.encode("ascii") + encoded_octets(data)


def _types() -> mimetypes.MimeTypes:
    types = mimetypes.MimeTypes()
    for extension, kind in ((".webp", "image/webp"), (".ics", "text/calendar"), (".avif", "image/avif")):
        types.add_type(kind, extension)
    return types


_TYPES = _types()
