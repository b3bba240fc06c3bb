"""Octets in, lines and bodies out: framing, pipelining, waiting, and breaking off at the right octet."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: RFC 5321 allows 512 octets and extensions add to it; AUTH needs 12288 (RFC 4954 4).
LINE_LIMIT = 12_288
#: How long a client that was told to go may take to say goodbye to TLS. Pooled clients do not look until
#: they want to send again; the default of 30 s kept their places, and a server that ends, for so long.
GOODBYE_SECONDS = 1.0
_END = b"\r\n.\r\n"


def has_bare_line_end(text: bytes) -> bool:
    """Whether CR or LF stands alone: what one server takes for the end of a message, another may not."""
    pairs = text.count(b"\r\n")
    return text.count(b"\n") != pairs or text.count(b"\r") != pairs


def _unstuffed(body: bytes) -> bytes:
    """RFC 5321 4.5.2."""
    if body.startswith(b".") or b"\n." in body:
        return body.removeprefix(b".").replace(b"\r\n.", b"\r\n")
    return body


class Wire(asyncio.Protocol):
    """One connection. A subclass answers ``line``, ``body`` and ``chunk``.

    While ``hold`` waits, nothing more is taken from what the client has pipelined: replies keep their order.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.transport: asyncio.Transport
        self._latency = latency
        self._buffer = bytearray()
        self._step: Callable[[], bool] = self._line_step
        self._scanned = 0
        self._wanted = 0
        self._body_limit = 0
        self._too_big = False
        self._out: list[bytes] = []
        self._late: deque[bytes | None] = deque()  # None: close
        self._held: asyncio.TimerHandle | asyncio.Future[Any] | None = None
        self._stopped = False  # being closed, or in a TLS handshake: nothing is read

    # What a subclass answers.

    def opened(self) -> None:
        """A connection, before anything was said."""

    def line(self, line: bytes) -> None:
        """A command, without its CRLF."""

    def body_began(self) -> None:
        """The first octets after 354."""

    def body(self, body: bytes | None) -> None:
        """A message, without its final dot and what dots were stuffed; None when it was over the limit."""

    def chunk(self, chunk: bytes) -> None:
        """The octets of one BDAT."""

    # What a subclass calls.

    def write(self, reply: str) -> None:
        """Send one line, or several separated by CRLF, after what was written before."""
        self._out.append(reply.encode("utf-8", "surrogateescape") + b"\r\n")

    def close(self) -> None:
        """Send what was written, then close. Nothing more is read."""
        self._stopped = True
        self._flush()
        self._deliver(None)

    def hold(self, seconds: float, then: Callable[[], None]) -> None:
        """Go on with ``then`` after this time."""
        self._flush()
        self._held = asyncio.get_running_loop().call_later(seconds, self._go_on, then)

    def wait_for(self, future: asyncio.Future[T], then: Callable[[T], None]) -> None:
        """Go on with ``then`` when it has a result; until then, what the client sends waits in the kernel.
        A client that leaves cancels it."""
        self._flush()
        self._held = future
        if not self.transport.is_closing():
            self.transport.pause_reading()
        future.add_done_callback(lambda done: self._resume(done, then))

    def expect_body(self, limit: int) -> None:
        self._step, self._scanned, self._too_big = self._first_octet_step, 0, False
        self._body_limit = limit

    def expect_chunk(self, size: int) -> None:
        self._step, self._wanted = self._chunk_step, size

    @property
    def at_rest(self) -> bool:
        """Whether nothing may be done now: a delay runs, or the connection is being closed."""
        return self._held is not None or self._stopped

    @property
    def more_waits(self) -> bool:
        """Whether the client sent more than what has been answered."""
        return bool(self._buffer)

    async def start_tls(self, context: ssl.SSLContext) -> bool:
        """Encrypt from here on. What arrived in clear after STARTTLS is not looked at (CVE-2011-0411)."""
        self._stopped = True
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                self.transport, self, context, server_side=True, ssl_shutdown_timeout=GOODBYE_SECONDS
            )
        except (OSError, ssl.SSLError):
            self.transport.abort()
            return False
        if encrypted is None:  # the peer left during the handshake
            return False
        self.transport = encrypted
        return not encrypted.is_closing()

    def go_on(self) -> None:
        """After ``start_tls``: what came together with the end of the handshake is read now."""
        self._stopped = False
        self._work()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.opened()
        self._work()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stopped = True
        if self._held is not None:
            self._held.cancel()

    # Framing: each step takes one thing from the buffer, or says that more must come first.

    def _work(self) -> None:
        while self._buffer and not self.at_rest and self._step():
            pass
        if not self.at_rest:
            self._flush()

    def _resume(self, done: asyncio.Future[T], then: Callable[[T], None]) -> None:
        if not done.cancelled() and not self._stopped:
            self.transport.resume_reading()
            result = done.result()
            self._go_on(lambda: then(result))

    def _go_on(self, then: Callable[[], None]) -> None:
        self._held = None
        if not self._stopped:
            then()
            self._work()

    def _line_step(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0 and len(self._buffer) <= LINE_LIMIT:
            return False
        if end < 0 or end > LINE_LIMIT:
            return self._give_up("500 5.5.6 Line too long")
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if has_bare_line_end(line):
            return self._give_up("500 5.5.2 Bare CR or LF")
        self.line(line[:-2])
        return True

    def _give_up(self, reply: str) -> bool:
        self.write(reply)
        self.close()
        return False

    def _first_octet_step(self) -> bool:
        self._step = self._first_line_step
        self.body_began()
        return True

    def _first_line_step(self) -> bool:
        """An empty message is a dot on the first line: there is no CRLF before it in the body."""
        if len(self._buffer) < 3 and b".\r\n".startswith(self._buffer):
            return False
        self._step = self._body_step
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            self._finish_body(b"")
        return True

    def _body_step(self) -> bool:
        end = self._buffer.find(_END, self._scanned)
        if end < 0:
            self._scanned = max(0, len(self._buffer) - len(_END) + 1)
            if self._scanned > self._body_limit:
                del self._buffer[: self._scanned]
                self._scanned, self._too_big = 0, True
            return False
        body = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(_END)]
        self._finish_body(body)
        return True

    def _finish_body(self, body: bytes) -> None:
        self._step = self._line_step
        self.body(None if self._too_big else _unstuffed(body))

    def _chunk_step(self) -> bool:
        if len(self._buffer) < self._wanted:
            return False
        chunk = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._step = self._line_step
        self.chunk(chunk)
        return True

    # Replies of one flight leave in one write; with a latency, each flight that much later, in order.

    def _flush(self) -> None:
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._deliver(data)

    def _deliver(self, data: bytes | None) -> None:
        if not self._latency:
            self._send(data)
            return
        self._late.append(data)
        asyncio.get_running_loop().call_later(self._latency, lambda: self._send(self._late.popleft()))

    def _send(self, data: bytes | None) -> None:
        if data is None:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write(data)
