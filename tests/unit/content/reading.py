"""An independent reader of messages: the standard library, and a strict hand check of lines."""

from __future__ import annotations

import email
import re
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


def text_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")
