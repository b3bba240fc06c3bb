"""Header lines, and the guard in front of them.

Nothing here trusts the interpreter's ``email`` package, which turns an encoded word with a line feed
inside into a real header (CVE-2024-6923). A value with a control character is refused, before and after
RFC 2047 decoding; ``=?`` typed by a person is text and is encoded as text; every finished line is
checked against one strict pattern. All functions raise ContentError, with the header's name as column.
"""

from __future__ import annotations

import binascii
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

from mailer.address import UNSAFE, Address
from mailer.errors import ContentError

_NAME = re.compile(r"[!-9;-~]{1,70}")  # RFC 5322 section 2.2, and short enough to leave room for a value
_LINE = re.compile(
    rb"[!-9;-~]+: ?[^\x00-\x1f\x7f]{0,990}(?:\r\n [^\x00-\x20\x7f][^\x00-\x1f\x7f]{0,990})*\r\n"
)
_PLAIN = re.compile(r"(?! )[ -~]*(?<! )")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ENCODED_WORD = re.compile(r"=\?([^?\s]*)\?([QqBb])\?([^?\s]*)\?=")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = [chr(octet) if octet in _Q_SAFE else "_" if octet == 32 else f"={octet:02X}" for octet in range(256)]

_LINE_LIMIT = 78  # RFC 5322 section 2.1.1, SHOULD
_WORD_LIMIT = 75  # RFC 2047 section 2, MUST
_LONGEST_TOKEN = 900  # what cannot be folded; 998 is the MUST
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def field_name(name: str) -> str:
    """The name itself, when it may stand before a colon."""
    if not _NAME.fullmatch(name):
        raise ContentError(
            "A header name has printable ASCII characters without spaces and colons.", column=name
        )
    return name


def guard(name: str, value: str) -> str:
    """The value itself, when neither it nor what a mail reader decodes from it holds a control character."""
    if UNSAFE.search(value):
        raise ContentError(
            "A header cannot hold line breaks, control or text-direction characters.", column=name
        )
    if "=?" in value and UNSAFE.search(_decoded_harshly(value)):
        raise ContentError("An encoded word here hides a control character.", column=name)
    return value


def text(name: str, value: str) -> bytes:
    """An unstructured header (Subject, Comments, X-…). What is read back is exactly ``value``."""
    if _everyday(name, value):
        return _checked(name, f"{name}: {value}\r\n".encode("ascii"))
    guard(name, value)
    if _PLAIN.fullmatch(value) and "=?" not in value and "  " not in value:
        line = _folded(f"{name}: {value}", _LINE_LIMIT)
        if line is not None:
            return _checked(name, line)
    return _checked(name, f"{name}: {_encoded_words(value, len(name) + 2)}\r\n".encode("ascii"))


def surely_text(value: str) -> bool:
    """True: ``text`` writes this. False: perhaps not."""
    return value.isascii() and value.isprintable() and "=?" not in value


def token(name: str, value: str) -> bytes:
    """A structured header kept as it is (Message-ID, References, List-Unsubscribe): ASCII only."""
    if _everyday(name, value):
        return _checked(name, f"{name}: {value}\r\n".encode("ascii"))
    guard(name, value)
    value = value.strip(" ")
    plain = _PLAIN.fullmatch(value) and "=?" not in value
    line = _folded(f"{name}: {value}", _LONGEST_TOKEN) if plain else None
    if line is None:
        raise ContentError(
            f"This header takes ASCII without a word over {_LONGEST_TOKEN} characters.", column=name
        )
    return _checked(name, line)


def addresses(name: str, values: Sequence[Address]) -> bytes:
    """An address header (From, To, Cc, Reply-To). Octets over 127 only where an address needs SMTPUTF8."""
    if len(values) == 1 and not values[0].name:
        return _checked(name, f"{name}: {values[0].addr}\r\n".encode())
    width = len(name) + 2
    shown = []
    for value in values:
        shown.append(_mailbox(name, value, width))
        width = 1
    line = f"{name}: " + ",\r\n ".join(shown) + "\r\n"
    if "\r\n" in line[:-2] and len(line) <= _LINE_LIMIT and "?=" not in line:
        line = line[:-2].replace("\r\n", "") + "\r\n"
    return _checked(name, line.encode())


def list_id(name: str, identifier: str) -> bytes:
    """List-Id of RFC 2919: a phrase and an identifier that looks like a domain."""
    phrase = f"{_phrase('List-Id', name, 9)} " if name else ""
    return _checked("List-Id", f"List-Id: {phrase}<{identifier}>\r\n".encode())


def parameter(name: str, value: str) -> str:
    """``; name="value"`` on a line of its own, by RFC 2231 where it is long or beyond ASCII."""
    guard(name, value)
    if len(value) <= 60 and re.fullmatch(r"[ !#-;=?-\[\]-~]*", value) and "=?" not in value:
        return f';\r\n {name}="{value}"'
    pieces = re.findall(r".{1,50}(?<!%)(?<!%.)", quote(value, safe=""))
    if len(pieces) == 1:
        return f";\r\n {name}*=utf-8''{pieces[0]}"
    first = f";\r\n {name}*0*=utf-8''{pieces[0]}"
    return first + "".join(f";\r\n {name}*{number}*={piece}" for number, piece in enumerate(pieces[1:], 1))


@lru_cache(maxsize=256)
def date(seconds: float) -> bytes:
    """``Date: `` of RFC 5322, in UTC."""
    at = time.gmtime(seconds)
    day = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04d}"
    return f"Date: {day} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} +0000\r\n".encode("ascii")


def _everyday(name: str, value: str) -> bool:
    """It fits into one line as it is, and nobody reads anything else in it."""
    short = len(name) + len(value) + 2 <= _LINE_LIMIT
    return short and surely_text(value) and "  " not in value and value.strip(" ") == value


def _decoded_harshly(value: str) -> str:
    # Octet by octet: whatever charset the word claims, no octet of it may be a control character.
    return _ENCODED_WORD.sub(
        lambda word: re.sub("[\x80-\xff]", "?", _word_octets(word).decode("latin-1")), value
    )


def _word_octets(word: re.Match[str]) -> bytes:
    payload = word[3].encode("utf-8", "replace")
    if word[2] in "Qq":
        return binascii.a2b_qp(payload, header=True)
    try:
        return binascii.a2b_base64(payload + b"==")
    except binascii.Error:
        return payload


def _checked(name: str, line: bytes) -> bytes:
    if not _LINE.fullmatch(line):
        raise ContentError("This header cannot be written as a valid line.", column=name)
    return line


def _folded(line: str, longest: int) -> bytes | None:
    """Folded at spaces, each of which starts a line. None: some line would be longer than ``longest``."""
    if len(line) <= _LINE_LIMIT:
        return f"{line}\r\n".encode("ascii")
    label, *words = line.split(" ")
    lines, current = [], f"{label} {words[0]}"
    for word in words[1:]:
        if word and current.strip() and len(current) + 1 + len(word) > _LINE_LIMIT:
            lines.append(current)
            current = ""
        current = f"{current} {word}"
    lines.append(current)
    if max(map(len, lines)) > longest:
        return None
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def _mailbox(name: str, value: Address, width: int) -> str:
    if not value.name:
        return value.addr
    phrase = _phrase(name, value.name, width)
    last = len(phrase) - phrase.rfind("\n") - 1
    space = "\r\n " if last + len(value.addr) + 3 + width > _LINE_LIMIT else " "
    return f"{phrase}{space}<{value.addr}>"


def _phrase(name: str, value: str, width: int) -> str:
    guard(name, value)
    if len(value) > 60 or "=?" in value or not value.isascii():
        return _encoded_words(value, width)
    if _ATOMS.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _encoded_words(value: str, width: int) -> str:
    """RFC 2047 words that never split a character; ``width`` is what stands before them on the line."""
    octets = value.encode()
    as_q = "".join([_Q[octet] for octet in octets])
    as_b = (len(octets) + 2) // 3 * 4
    room = _WORD_LIMIT - max(0, width - (_LINE_LIMIT - _WORD_LIMIT)) - 12
    kind = "q" if len(as_q) * 2 <= as_b * 3 else "b"  # people can read q in logs
    if kind == "q" and len(as_q) <= room:
        return f"=?utf-8?q?{as_q}?="
    words = []
    for chunk in _chunks(value, room, kind):
        payload = chunk.encode()
        if kind == "b":
            words.append(f"=?utf-8?b?{binascii.b2a_base64(payload, newline=False).decode()}?=")
        else:
            words.append(f"=?utf-8?q?{''.join([_Q[octet] for octet in payload])}?=")
    return "\r\n ".join(words)


def _chunks(value: str, first_room: int, kind: str) -> list[str]:
    def cost(char: str) -> int:
        return len(char.encode()) if kind == "b" else sum(len(_Q[octet]) for octet in char.encode())

    def octets_in(room: int) -> int:
        return room // 4 * 3 if kind == "b" else room

    chunks, start, used, room = [], 0, 0, octets_in(first_room)
    for at, char in enumerate(value):
        needed = cost(char)
        if used + needed > room:
            chunks.append(value[start:at])
            start, used, room = at, 0, octets_in(_WORD_LIMIT - 12)
        used += needed
    chunks.append(value[start:])
    return [chunk for chunk in chunks if chunk] or [""]
