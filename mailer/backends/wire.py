"""One kept HTTP/1.1 connection as a transport for httpx: asyncio's own transport, llhttp reads the answers.

httpx's default transport brings a pool, a lock, a cancel scope and a trace for each step, and parses in
Python: five times the CPU of this for one request (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence

import httptools
import httpx

#: Octets of an answer that are read; no provider says more about its largest batch.
ANSWER_LIMIT = 8_000_000
_HEAD_LIMIT = 100_000
#: After so many seconds of idling a connection is not used again: the other side may close it just now.
_KEPT_SECONDS = 15.0
#: For each of a host's addresses but the last: one that swallows packets must not use up the time of all.
_ADDRESS_SECONDS = 3.0
_CLOSE_SECONDS = 1.0
#: RFC 9110 sections 5.1 and 5.5; a line end in a value would begin another header.
_HEADERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00\r\n]*\r\n)+")


class Wire(httpx.AsyncBaseTransport):
    """One request at a time, each with the ``timeout`` extension that httpx's own transports take.

    What is raised before the first octet was written is a ConnectError, ConnectTimeout or LocalProtocolError;
    everything else may come after the last. Opened by the first request, and again when it was closed since.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._line: _Line | None = None
        if context is not None:
            context.set_alpn_protocols(["http/1.1"])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seconds = request.extensions["timeout"]
        head = _head(request)
        body = await request.aread()
        if self._line is None or not self._line.usable:
            await self.aclose()
            self._line = await _opened(request.url, self._context, seconds["connect"])
        return await self._line.exchange([head, body], seconds["read"])

    async def aclose(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()


class _Line(asyncio.Protocol):
    """A connection from its first octet to its last; the methods ``on_`` are called by the parser."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._answer: asyncio.Future[httpx.Response] | None = None
        self._unfit = False  # for another request
        self._heard = self._loop.time()  # when octets last came or went
        self._unwritten = 0
        self._begin()

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._octets = 0
        self._headed = False

    @property
    def usable(self) -> bool:
        return not self._unfit and self._loop.time() < self._heard + _KEPT_SECONDS

    async def exchange(self, octets: Sequence[bytes], patience: float) -> httpx.Response:
        """Raises ReadTimeout, ReadError or RemoteProtocolError."""
        self._begin()
        self._answer = self._loop.create_future()
        self._heard = self._loop.time()
        self._transport.writelines(octets)
        self._unwritten = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(patience, self._look, patience)
        try:
            return await self._answer
        finally:
            self._timer.cancel()
            self._answer = None

    async def close(self) -> None:
        self._unfit = True
        self._transport.abort()
        await asyncio.wait((self._lost,), timeout=_CLOSE_SECONDS)

    def _look(self, patience: float) -> None:
        """A request that is still being written is not late, nor an answer of which more comes."""
        left = self._transport.get_write_buffer_size()
        if left < self._unwritten:
            self._unwritten, self._heard = left, self._loop.time()
        rest = self._heard + patience - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look, patience)
        else:
            self._fail(httpx.ReadTimeout(f"no answer for {patience:g} seconds"))

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._answer is None:  # nobody asked
            self._unfit = True
            return
        self._octets += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the server wants another protocol"))
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(str(error)[:200]))
        if self._octets > (ANSWER_LIMIT if self._headed else _HEAD_LIMIT):
            self._unfit = True
            self._done() if self._headed else self._fail(httpx.RemoteProtocolError("endless headers"))

    def connection_lost(self, error: Exception | None) -> None:
        self._unfit = True
        if self._headed and error is None and not self._framed():
            self._done()  # it ends where the connection ends (RFC 9112 section 6.3)
        text = str(error) if error else "the server closed the connection without an answer"
        self._fail(httpx.ReadError(text) if error else httpx.RemoteProtocolError(text))
        del self._parser  # which holds us
        self._lost.set_result(None)

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():  # there is one already
            self._unfit = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue; the answer is still to come
            self._begin()
            return
        written = not self._transport.get_write_buffer_size()  # else it did not wait for all of it
        self._unfit = self._unfit or not (written and self._parser.should_keep_alive())
        self._done()

    def _done(self) -> None:
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(httpx.Response(status, headers=self._headers, stream=_Read(self._pieces)))
            self._begin()  # whatever follows is no part of it

    def _fail(self, error: httpx.TransportError) -> None:
        self._unfit = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _framed(self) -> bool:
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers)


class _Read(httpx.AsyncByteStream):
    """The body, which is here already, in the pieces in which it came."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _head(request: httpx.Request) -> bytes:
    raw = request.headers.raw
    headers = b"".join([b"%b: %b\r\n" % header for header in raw])
    if not _HEADERS.fullmatch(headers) or headers.count(b"\n") != len(raw):
        raise httpx.LocalProtocolError("a header holds a character that no header may hold")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode("ascii"), request.url.raw_path, headers)


async def _opened(url: httpx.URL, context: ssl.SSLContext | None, seconds: float) -> _Line:
    """Its addresses one after the other, in the system's order. Raises ConnectError or ConnectTimeout."""
    host = url.raw_host.decode("ascii")
    port = url.port or (443 if context else 80)
    try:
        async with asyncio.timeout(seconds):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            *others, last = [str(address[0]) for *_, address in found]
            for address in others:
                try:
                    async with asyncio.timeout(_ADDRESS_SECONDS):
                        return await _connected(address, port, context, host)
                except ssl.SSLCertVerificationError:
                    raise
                except OSError:  # TimeoutError is one
                    continue
            return await _connected(last, port, context, host)
    except TimeoutError:
        raise httpx.ConnectTimeout(f"no connection within {seconds:g} seconds") from None
    except OSError as error:  # ssl.SSLError is one
        raise httpx.ConnectError(str(error)) from error


async def _connected(address: str, port: int, context: ssl.SSLContext | None, host: str) -> _Line:
    loop = asyncio.get_running_loop()
    name = host if context else None
    _, line = await loop.create_connection(_Line, address, port, ssl=context, server_hostname=name)
    return line
