"""How a text travels: as it is, as quoted-printable or as base64, whichever is safe and small.

No line of the result starts with a dot or is longer than 998 octets, and none can be taken for one of our
boundaries, which all start with ``--=_``: no encoding makes that string (RFC 2045 section 6.7).
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache

from mailer.errors import ContentError

_HIGH = bytes(range(128, 256))
_LINE_LIMIT = 998  # RFC 5321 section 4.5.3.1.6, without CRLF
_SAFE = re.compile(r"(?!\.|--=_)[\t -~]*")
_QP = [bytes([c]) if c == 9 or (32 <= c < 127 and c != 61) else b"=%02X" % c for c in range(256)]

CRLF = b"\r\n"


def in_lines(text: str) -> str:
    """Line ends become ``\n``; the last line gets one if it has none. Raises ContentError."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ContentError("The text holds half of a character pair (a lone surrogate).") from None
    return text if text.endswith("\n") else text + "\n"


def encoded_text(text: str) -> tuple[bytes, bytes]:
    """(Content-Transfer-Encoding, octets) of what ``in_lines`` made. Line ends become CRLF."""
    # Line by line, because most lines are the template's and were looked at for an earlier message.
    lines = text.split("\n")
    short = max(map(len, lines)) <= _LINE_LIMIT
    if short and all(map(_known_as_safe, lines)):
        return b"7bit", "\r\n".join(lines).encode("ascii")
    data = text.encode()
    high = 0 if text.isascii() else len(data) - len(data.translate(None, _HIGH))
    # Quoted-printable costs two octets more for each, base64 a third of everything.
    if high * 11 > len(data) * 2:
        return b"base64", encoded_octets(data.replace(b"\n", CRLF))
    return b"quoted-printable", CRLF.join([_any_line(line) for line in lines])


def encoded_octets(data: bytes) -> bytes:
    """Base64 in lines of 76, with CRLF after each."""
    whole = binascii.b2a_base64(data, newline=False)
    return b"".join([whole[at : at + 76] + CRLF for at in range(0, len(whole), 76)])


def _is_safe(line: str) -> bool:
    return _SAFE.fullmatch(line) is not None


def _any_line(text: str) -> bytes:
    if len(text) <= _LINE_LIMIT:
        return _known_line(text)
    # HTML of one long line is cut between tags: most pieces are the template's, so they too are remembered.
    first, *pieces = text.split("><")
    if not pieces:
        return _line(text)
    last = f"<{pieces.pop()}"
    encoded = [_known_tag(piece) if len(piece) <= _LINE_LIMIT else _open_tag(piece) for piece in pieces]
    ending = (_known_line if len(last) <= _LINE_LIMIT else _line)(last)
    return b"".join([_open_line(f"{first}>"), *encoded, ending])


def _open_line(text: str) -> bytes:
    """A piece of a line, up to and with the soft line break behind it."""
    encoded = _line(text)
    if len(encoded) - encoded.rfind(b"\n") > 76:  # no room for the sign of the break
        encoded = _line_with_care(text.encode())
    return encoded + b"=" + CRLF


def _open_tag(text: str) -> bytes:
    """What stood between two cuts."""
    return _open_line(f"<{text}>")


def _line(text: str) -> bytes:
    # binascii takes its kind of soft line break from the first line end that it sees.
    line = text.encode()
    encoded = binascii.b2a_qp(line + CRLF)[:-2]
    # It protects a dot only when it stands alone, and makes a line of 77 of a blank at the end.
    if encoded.startswith(b".") or b"\n." in encoded or max(map(len, encoded.split(CRLF))) > 76:
        return _line_with_care(line)
    return encoded


def _line_with_care(line: bytes) -> bytes:
    octets = [_QP[octet] for octet in line]
    if octets[-1] in {b" ", b"\t"}:
        octets[-1] = b"=%02X" % line[-1]
    lines, current, width = [], list[bytes](), 0
    for octet in octets:
        if width + len(octet) > 75:
            lines.append(b"".join(current) + b"=")
            current, width = [], 0
        shown = b"=2E" if octet == b"." and not current else octet
        current.append(shown)
        width += len(shown)
    return CRLF.join([*lines, b"".join(current)])


_known_as_safe = lru_cache(maxsize=4096)(_is_safe)
_known_line = lru_cache(maxsize=4096)(_line)
_known_tag = lru_cache(maxsize=4096)(_open_tag)
