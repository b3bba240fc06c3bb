"""How a text travels: as it is, as quoted-printable or as base64, whichever is safe and small.

No line of the result starts with a dot or is longer than 998 octets, and none can be taken for one of our
boundaries, which all start with ``--=_``: no encoding makes that string (RFC 2045 section 6.7).
"""

from __future__ import annotations

import binascii
from functools import lru_cache

from mailer.errors import ContentError

_PRINTABLE = bytes(range(32, 127)) + b"\r\n\t"
_HIGH = bytes(range(128, 256))
_LINE_LIMIT = 998  # RFC 5321 section 4.5.3.1.6, without CRLF
_QP = [bytes([c]) if c == 9 or (32 <= c < 127 and c != 61) else b"=%02X" % c for c in range(256)]

CRLF = b"\r\n"


def encoded_text(text: str) -> tuple[bytes, bytes]:
    """(Content-Transfer-Encoding, octets). Line ends become CRLF; the last line gets one if it has none."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    try:
        data = text.replace("\n", "\r\n").encode()
    except UnicodeEncodeError:
        raise ContentError("The text holds half of a character pair (a lone surrogate).") from None
    if _travels_as_is(data):
        return b"7bit", data
    high = len(data) - len(data.translate(None, _HIGH))
    # Quoted-printable costs two octets more for each, base64 a third of everything.
    if high * 11 > len(data) * 2:
        return b"base64", encoded_octets(data)
    return b"quoted-printable", _quoted_printable(data)


def encoded_octets(data: bytes) -> bytes:
    """Base64 in lines of 76, with CRLF after each."""
    whole = binascii.b2a_base64(data, newline=False)
    return b"".join([whole[at : at + 76] + CRLF for at in range(0, len(whole), 76)])


def _travels_as_is(data: bytes) -> bool:
    return (
        data.isascii()
        and not data.translate(None, _PRINTABLE)
        and not data.startswith(b".")
        and b"\n." not in data
        and b"--=_" not in data
        and _has_short_lines(data)
    )


def _has_short_lines(data: bytes) -> bool:
    at = 0
    while len(data) - at > _LINE_LIMIT:
        at = data.rfind(b"\n", at, at + _LINE_LIMIT + 2) + 1
        if at == 0:
            return False
    return True


def _quoted_printable(data: bytes) -> bytes:
    if _has_short_lines(data):
        # Most lines are the template's, the same in every message.
        return CRLF.join(map(_kept_line, data.split(CRLF)))
    return CRLF.join(map(_line, data.split(CRLF)))


def _line(line: bytes) -> bytes:
    # binascii takes its kind of soft line break from the first line end that it sees.
    encoded = binascii.b2a_qp(line + CRLF)[:-2]
    for one in encoded.split(CRLF):
        # It protects a dot only when it stands alone, and makes a line of 77 of a blank at the end.
        if len(one) > 76 or one.startswith(b"."):
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


_kept_line = lru_cache(maxsize=2048)(_line)
