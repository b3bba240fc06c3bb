"""Prints messages for people to read."""

from __future__ import annotations

import asyncio
import email
import re
import sys
from collections.abc import Iterator, Sequence
from email.header import decode_header, make_header
from email.message import Message
from typing import TextIO
from urllib.parse import urlsplit

from mailer import crash
from mailer.backends import options
from mailer.backends.batch import one_by_one, too_large, unmarked
from mailer.backends.contract import BackendConfig, BackendLimits
from mailer.errors import BackendUnusable, ConfigError
from mailer.message import Accepted, Mark, Outcome, Outgoing, Phase, Reply

_RULE = "=" * 78
#: A message must not be able to steer the terminal: C0 without tab and line feed, DEL, C1, direction marks.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def connect(config: BackendConfig) -> ConsoleBackend:
    """``console:`` prints to standard output, ``console://stderr`` to standard error.

    Option: ``size`` (octets per message).
    """
    options.check(config, ("size",))
    stream = urlsplit(config.url).netloc or "stdout"
    if stream not in {"stdout", "stderr"}:
        raise ConfigError(f"backend {config.name!r}: expected console:, console://stdout or console://stderr")
    return ConsoleBackend(config.name, stream, options.whole(config, "size", None))


class ConsoleBackend:
    """One message at a time, decoded; attachments are listed, not shown."""

    def __init__(self, name: str, stream: str = "stdout", size: int | None = None) -> None:
        self._name = name
        self._stream = stream
        self._limits = BackendLimits(concurrency=1, size=size)
        self._printing = asyncio.Semaphore(1)

    @property
    def limits(self) -> BackendLimits:
        return self._limits

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> list[Outcome]:
        return await one_by_one(batch, lambda message: self._send(message, mark), self._printing)

    async def probe(self) -> str:
        self._open()
        return f"prints to {self._stream}"

    async def close(self) -> None:
        """Standard output is not ours to close."""

    async def _send(self, message: Outgoing, mark: Mark) -> Outcome:
        if refused := too_large(message, self._limits.size):
            return refused
        text, stream = readable(message), self._open()
        if stays := await unmarked(message, mark):
            return stays
        crash.point("before_dot")
        self._print(text, stream)
        crash.point("after_dot")
        crash.point("after_reply")
        return Accepted(Reply("printed", code=250, enhanced="2.0.0", phase=Phase.DOT))

    def _open(self) -> TextIO:
        """None and closed are what a shell's ``>&-`` leaves."""
        stream = sys.stderr if self._stream == "stderr" else sys.stdout
        if stream is None or stream.closed:
            raise BackendUnusable(self._name, f"{self._stream} is closed", True)
        return stream

    def _print(self, text: str, stream: TextIO) -> None:
        encoding = stream.encoding or "utf-8"
        try:
            stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except OSError as error:
            raise BackendUnusable(self._name, f"{self._stream}: {error.strerror}", True) from error


def readable(message: Outgoing) -> str:
    """Envelope, decoded headers, the text body, and a list of the other parts."""
    parsed = email.message_from_bytes(message.data)
    lines = [_RULE, f"MAIL FROM:<{message.sender}>", *(f"RCPT TO:<{to}>" for to in message.recipients), ""]
    lines += [f"{name}: {_decoded(value)}" for name, value in parsed.items()]
    lines += ["", *_body(parsed), _RULE, ""]
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", "\n".join(lines))


def _decoded(value: str) -> str:
    folded = re.sub(r"\r?\n(?=[ \t])", "", str(value))
    try:
        return str(make_header(decode_header(folded)))
    except (ValueError, LookupError):
        return folded


def _body(parsed: Message) -> Iterator[str]:
    parts = [part for part in parsed.walk() if not part.is_multipart()]
    shown = next((part for part in parts if part.get_content_type() == "text/plain"), None)
    if shown is not None:
        yield _text(shown)
    for part in parts:
        if part is not shown:
            yield _listed(part)


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    try:
        text = octets.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = octets.decode("utf-8", "replace")
    return text.replace("\r\n", "\n").rstrip()


def _listed(part: Message) -> str:
    payload = part.get_payload(decode=True)
    size = len(payload) if isinstance(payload, bytes) else 0
    name = part.get_filename()
    return f"[{part.get_content_type()}{f', {name}' if name else ''}, {size} octets]"
