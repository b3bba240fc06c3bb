"""HTTP/1.1 over one kept connection, as a transport for httpx.

The parser is llhttp, that of Node.js, by way of httptools. httpcore has one in Python, writes four times a
request and puts a cancel scope around each: eight times the CPU (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import cast

import httptools
import httpx
from aiohappyeyeballs import start_connection

#: Octets of an answer that are read; no provider says more about its largest batch.
ANSWER_LIMIT = 8_000_000
#: After so many seconds of idling a connection is not used again: the other side may close it just now.
KEPT_SECONDS = 15.0
#: Octets of the headers of an answer, or of what surrounds its chunks.
_HEAD_LIMIT = 100_000
#: Seconds until another address of the same name is tried beside the first (RFC 8305 section 8).
_NEXT_ADDRESS = 0.25
#: RFC 9110 section 5.5, RFC 9112 sections 3 and 5. No value can end its line.
_HEAD = re.compile(
    rb"[A-Z]+ [!-~]+ HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)+\r\n"
)
#: Status, headers and body.
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class Http1(httpx.AsyncBaseTransport):
    """One request at a time, each with the ``timeout`` extension that httpx's own transports take.

    What is raised before the first octet was written is a ConnectError, ConnectTimeout or LocalProtocolError;
    everything else may come after the last. Opened by the first request, and again when it was closed since.
    The answer is read up to ``ANSWER_LIMIT``; of one that is longer the rest is lost.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._line: _Line | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        times: Mapping[str, float | None] = request.extensions.get("timeout", {})
        octets = (_head(request), await request.aread())
        line = await self._usable(request.url, times.get("connect"))
        try:
            status, headers, body = await line.exchange(octets, times.get("write"), times.get("read"))
        except BaseException:
            await self.aclose()  # whatever it was in the middle of
            raise
        return httpx.Response(
            status, headers=headers, content=body, extensions={"http_version": b"HTTP/1.1"}, request=request
        )

    async def aclose(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _usable(self, url: httpx.URL, seconds: float | None) -> _Line:
        """Looked at last thing before anything is written, and nothing is awaited between."""
        if self._line is None or not self._line.quiet:
            await self.aclose()
            self._line = await _opened(url, self._context, seconds)
        return self._line


async def _opened(url: httpx.URL, context: ssl.SSLContext | None, seconds: float | None) -> _Line:
    host, port = url.raw_host.decode("ascii"), url.port or (443 if context else 80)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            sock = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS)
            try:
                name = host if context else None
                return (await loop.create_connection(_Line, sock=sock, ssl=context, server_hostname=name))[1]
            except BaseException:
                sock.close()
                raise
    except TimeoutError:
        raise httpx.ConnectTimeout("no connection in time") from None
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(str(error) or type(error).__name__) from error


class _Line(asyncio.Protocol):
    """What the event loop and the parser tell of one connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None  # while one is waited for
        self._kept_until = self._loop.time() + KEPT_SECONDS
        self._keep = True
        self._octets = 0
        self._full = False  # not all of the request has left
        self._timer: asyncio.TimerHandle | None = None
        self._patience: float | None = None
        self._heard = 0.0
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._headed = self._endless = False

    @property
    def quiet(self) -> bool:
        """Whether the next request may be written: it is open, and nothing has come that nobody asked for."""
        if not self._keep or self._transport.is_closing() or self._loop.time() > self._kept_until:
            return False
        return not self._poll.poll(0)

    async def exchange(self, octets: Sequence[bytes], write: float | None, read: float | None) -> Answer:
        """``write`` is in seconds for all of it, ``read`` until something comes."""
        self._begin()
        self._octets = 0
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._patience = read
        self._transport.writelines(octets)
        self._wait(write if self._full else read)
        try:
            return await answer
        finally:
            self._wait(None)
            self._answer = None
            self._kept_until = self._loop.time() + KEPT_SECONDS

    async def close(self) -> None:
        self._transport.abort()
        await self._gone

    # --- what the event loop calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # One octet, not none: with none the TLS of asyncio pauses for good.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._answer is not None:
            self._wait(self._patience)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self._transport.abort()
            return
        self._heard = self._loop.time()
        self._octets += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(str(error) or "the server wants another protocol"))
        if len(self._body) > ANSWER_LIMIT:
            self._keep = False
            self._finish()
        elif self._octets > _HEAD_LIMIT + 2 * len(self._body):
            self._fail(httpx.RemoteProtocolError("the answer has more headers than anybody reads"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep = False
        if not self._gone.done():
            self._gone.set_result(None)
        if self._endless and exc is None:
            self._finish()
        elif exc is None:
            self._fail(httpx.RemoteProtocolError("the server closed the connection without an answer"))
        else:
            kind = httpx.WriteError if self._full else httpx.ReadError
            self._fail(kind(str(exc) or type(exc).__name__))

    # --- what the parser calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self._keep = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # what comes after the body is no header of ours
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._headed = True
        self._status = self._parser.get_status_code()
        names = {name.lower() for name, _ in self._headers}
        self._endless = not names & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._status == 101:
            self._fail(httpx.RemoteProtocolError("the server wants another protocol"))
        elif self._status < 200:  # the answer is still to come
            self._begin()
        else:
            self._keep = self._keep and not self._full and self._parser.should_keep_alive()
            self._finish()

    # --- how it ends -----------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._headers, bytes(self._body)))

    def _fail(self, error: httpx.TransportError) -> None:
        self._keep = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _wait(self, seconds: float | None) -> None:
        """At most so long from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._heard = self._loop.time()
            self._timer = self._loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        """Something may have come since; a timer for each piece would cost more."""
        left = self._heard + seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._late, seconds)
        elif self._full:
            self._fail(httpx.WriteTimeout("the server does not take the request"))
        else:
            self._fail(httpx.ReadTimeout("no answer in time"))


def _head(request: httpx.Request) -> bytes:
    """Raises LocalProtocolError for what would not be one."""
    line = b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)
    lines = [line, *(b"%b: %b" % pair for pair in request.headers.raw)]
    head = b"\r\n".join([*lines, b"", b""])
    if head.count(b"\n") != len(lines) + 1 or not _HEAD.fullmatch(head):
        raise httpx.LocalProtocolError("a header holds what no header can hold")
    return head
