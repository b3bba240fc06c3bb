"""An independent reader of messages: the standard library, and a strict hand check of lines."""

from __future__ import annotations

import email
import re
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default


def read(data: bytes) -> EmailMessage:
    """The message as the standard library reads it, after a look at every line."""
    check_lines(data)
    message = email.message_from_bytes(data, policy=default)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects, part.defects
    return message


def check_lines(data: bytes) -> None:
    assert data.endswith(b"\r\n")
    assert b"\0" not in data
    stripped = data.replace(b"\r\n", b"")
    assert b"\r" not in stripped
    assert b"\n" not in stripped
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert not re.search(rb"^\.", data, re.MULTILINE)
    assert data.isascii()


def header_names(data: bytes) -> list[str]:
    head = data.partition(b"\r\n\r\n")[0]
    return [name.decode() for name in re.findall(rb"^([!-9;-~]+):", head, re.MULTILINE)]


def phrase(raw: str) -> str:
    """A display name with encoded words; the new parser of 3.11 keeps the blanks between them."""
    return str(make_header(decode_header(re.sub(r"\r\n(?=\s)", "", raw))))
