"""Commands and body of one message as they go over the wire. Pure; refuses what must never be written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mailer.message import Outgoing, Phase, Rejected, Reply

#: No control character, space (of any alphabet), lone surrogate or angle bracket ever reaches a command.
_ADDRESS = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>\u2028\u2029\ud800-\udfff]+")
#: RFC 5321 section 4.5.3.1.3 counts the angle brackets.
_MAX_PATH = 254
#: RFC 3461 allows 100 characters of xtext, which makes up to three of one.
_ENVID = 33
_NOTIFY = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})
_XTEXT = re.compile(r"[^!-*,-<>-~]")


@dataclass(frozen=True, slots=True)
class Offers:
    """What the server can do, from its last EHLO."""

    pipelining: bool = False  # RFC 2920
    eight_bit_mime: bool = False  # RFC 6152
    smtputf8: bool = False  # RFC 6531
    dsn: bool = False  # RFC 3461
    size: bool = False  # RFC 1870
    max_size: int | None = None

    @classmethod
    def parse(cls, extensions: Mapping[str, str], max_size: int | None = None) -> Offers:
        """From keywords in lower case, each with its parameters; ``max_size`` is a limit of our own."""
        size = extensions.get("size", "").split(" ")[0]
        sizes = [max_size or 0, int(size) if size.isascii() and size.isdigit() else 0]
        return cls(
            pipelining="pipelining" in extensions,
            eight_bit_mime="8bitmime" in extensions,
            smtputf8="smtputf8" in extensions,
            dsn="dsn" in extensions,
            size="size" in extensions,
            max_size=min(filter(None, sizes), default=None),
        )


def refusal(message: Outgoing, offers: Offers) -> Rejected | None:
    """Why this message cannot go over this session; None when it can."""
    if message.sender and not _writable(message.sender, message.smtputf8):
        return _refused(Phase.MAIL, "The sender's address cannot be written in SMTP.")
    for recipient in message.recipients:
        if not _writable(recipient, message.smtputf8):
            return _refused(Phase.RCPT, "A recipient's address cannot be written in SMTP.")
    if not message.recipients:
        return _refused(Phase.RCPT, "The message has no recipient.")
    if message.smtputf8 and not offers.smtputf8:
        return _refused(Phase.MAIL, "The server cannot take non-ASCII addresses or headers (SMTPUTF8).")
    if message.eight_bit and not offers.eight_bit_mime:
        return _refused(
            Phase.MAIL,
            "The server cannot take 8-bit content (8BITMIME): have the program that wrote it encode it as "
            "quoted-printable or base64, or send through another server.",
        )
    if offers.max_size is not None and len(message.data) > offers.max_size:
        return _refused(Phase.MAIL, "The message is larger than the server takes.")
    return None


def transparent(data: bytes) -> bytes | Rejected:
    """The body with its dots stuffed (RFC 5321 section 4.5.2), without the final one.

    Refused when a dot might stand behind anything but CRLF: at some server that ends the message early
    (SMTP smuggling, CVE-2023-51764). Two searches are all that an ordinary body costs.
    """
    if not data.endswith(b"\r\n"):
        return _refused(Phase.DATA, "The message does not end in a line end.")
    if b"\n." in data or b"\r." in data:
        lines = data.count(b"\r\n")
        if data.count(b"\n") != lines or data.count(b"\r") != lines:
            return _refused(Phase.DATA, "The message holds line ends other than CRLF.")
        data = data.replace(b"\r\n.", b"\r\n..")
    return b"." + data if data.startswith(b".") else data


def _refused(phase: Phase, reason: str) -> Rejected:
    return Rejected(Reply("not sent", phase=phase, reason=reason))


def _writable(address: str, smtputf8: bool) -> bool:
    if _ADDRESS.fullmatch(address) is None:
        return False
    if address.isascii():
        return len(address) <= _MAX_PATH
    return smtputf8 and len(address.encode()) <= _MAX_PATH


def mail(message: Outgoing, offers: Offers) -> bytes:
    """MAIL with the parameters that are both needed and offered."""
    line = f"MAIL FROM:<{message.sender}>"
    if offers.size:
        line += f" SIZE={len(message.data)}"
    if message.eight_bit:
        line += " BODY=8BITMIME"
    if message.smtputf8:
        line += " SMTPUTF8"
    if message.dsn and offers.dsn:
        if message.dsn.ret in ("FULL", "HDRS"):
            line += f" RET={message.dsn.ret}"
        if message.dsn.envid:
            line += f" ENVID={xtext(message.dsn.envid[:_ENVID])}"
    return f"{line}\r\n".encode()


def rcpt(recipient: str, message: Outgoing, offers: Offers) -> bytes:
    """RCPT for one recipient."""
    line = f"RCPT TO:<{recipient}>"
    if message.dsn and offers.dsn:
        wanted = [word for word in message.dsn.notify if word in _NOTIFY]
        if wanted:
            line += f" NOTIFY={','.join(wanted)}"
        if recipient.isascii():
            line += f" ORCPT=rfc822;{xtext(recipient)}"
    return f"{line}\r\n".encode()


def xtext(text: str) -> str:
    """RFC 3461 section 4: printable ASCII without ``+`` and ``=``, anything else as ``+XX``."""
    return _XTEXT.sub(lambda match: "".join(f"+{octet:02X}" for octet in match[0].encode()), text)
