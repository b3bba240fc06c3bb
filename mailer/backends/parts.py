"""A finished message cut into its parts. Reads only what this program wrote.

The stdlib parser compiles a pattern for every boundary, and no two messages share one: 0.4 to 1 ms for a
message (measured), of which this takes a fifth. It still reads the content headers, whose few forms
recur and are remembered.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from functools import lru_cache

#: The content headers of one part, with what is folded.
_CONTENT = re.compile(rb"(?mi)^content-[^\n]*\n(?:[ \t][^\n]*\n)*")
#: Octets of a head that is more than a part's own.
_LONG = 250
_BOUNDARY = re.compile(rb'(?i)[;\s]*boundary=(?:"([^"]+)"|([^\s;"]+))')


@dataclass(frozen=True, slots=True)
class Says:
    """What the content headers of a part say of it. ``name`` may hold encoded words."""

    kind: str
    attached: bool
    charset: str
    encoding: str
    name: str
    identity: str


@dataclass(slots=True)
class Part:
    """Headers and content of a message, or of a part of one; ``boundary`` is empty unless it holds parts."""

    head: bytes
    body: bytes
    says: Says
    boundary: bytes

    def leaves(self) -> Iterator[Part]:
        """Parts that hold no others, in their order."""
        if not self.boundary:
            yield self
            return
        # The line end before a delimiter belongs to it (RFC 2046 section 5.1.1).
        _, *inner = (b"\r\n" + self.body).split(b"\r\n--" + self.boundary)
        for octets in inner:
            if octets.startswith(b"--"):
                return
            if octets.startswith(b"\r\n"):  # else it is the boundary of another, longer by a letter
                part = read(octets[2:])
                if part.boundary:
                    yield from part.leaves()
                else:
                    yield part

    def octets(self) -> bytes:
        """The content without its transfer encoding. Raises binascii.Error."""
        if self.says.encoding == "base64":
            return a2b_base64(self.body)
        return a2b_qp(self.body) if self.says.encoding == "quoted-printable" else self.body

    def text(self) -> str:
        """Raises LookupError for a charset that nobody knows."""
        text = self.octets().decode(self.says.charset, "replace")
        first = text.find("\r")  # HTML is mostly one long line, and replace() looks at each character of it
        return text if first < 0 else text[:first] + text[first:].replace("\r\n", "\n")

    def base64(self) -> str:
        """The content in one line of base64; what is base64 already stays as it is."""
        if self.says.encoding == "base64":
            return self.body.translate(None, b"\r\n \t").decode("ascii")
        return b64encode(self.octets()).decode("ascii")


def lines(head: bytes) -> Iterator[tuple[str, str]]:
    """Header names and values, unfolded. Octets that are no UTF-8 (RFC 6532) come from older programs,
    and are read as what these mostly write."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = head.decode("cp1252", "replace")
    for line in text.replace("\r\n ", " ").replace("\r\n\t", "\t").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip(" \t")


def read(octets: bytes) -> Part:
    """From its headers to its last line end."""
    head, _, body = octets.partition(b"\r\n\r\n")
    if len(head) < _LONG and b"boundary" not in head.lower():  # a leaf, like those of all messages before it
        return Part(head, body, _leaf(head), b"")
    content = _content(head)
    found = _BOUNDARY.search(content)
    says = _says(_BOUNDARY.sub(b"", content) if found else content)
    boundary = found[1] or found[2] if found else b""
    return Part(head, body, says, boundary if says.kind.startswith("multipart/") else b"")


@lru_cache(maxsize=512)
def _leaf(head: bytes) -> Says:
    return _says(_content(head))


def _content(head: bytes) -> bytes:
    """Its content headers. Ours stand last, so that the pattern has little to go through."""
    first = max(0, head.lower().find(b"\r\ncontent-"))
    if first and head[:8].lower() == b"content-":
        first = 0
    return b"".join(_CONTENT.findall(head + b"\r\n", first))


@lru_cache(maxsize=512)
def _says(content: bytes) -> Says:
    parsed = message_from_bytes(content + b"\r\n")
    return Says(
        parsed.get_content_type(),
        parsed.get_content_disposition() == "attachment",
        parsed.get_content_charset() or "utf-8",
        str(parsed.get("Content-Transfer-Encoding", "")).strip().lower(),
        parsed.get_filename() or "",
        str(parsed.get("Content-ID") or "").strip("<> "),
    )
