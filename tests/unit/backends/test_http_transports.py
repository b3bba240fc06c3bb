"""Connections for httpx, before servers that say what HTTP/1.1 allows, and more."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from mailer.backends.http1 import ANSWER_LIMIT, Http1
from mailer.backends.http2 import Http2
from tests.idle_time import in_idle_time

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"


#: Both promise the same.
made = pytest.mark.parametrize("kind", [Http1, Http2])


class Server:
    """Each answer of ``script`` follows a whole request; None closes, "" says nothing."""

    def __init__(self, script: list[bytes | None]) -> None:
        self.script = script
        self.asked: list[bytes] = []
        self.opened = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                self.asked.append(head + await reader.readexactly(size))
                said = self.script.pop(0)
                if said is None:
                    return
                for octet in range(0, len(said), max(1, len(said) // 50)):
                    writer.write(said[octet : octet + max(1, len(said) // 50)])
                    await writer.drain()
                if b"Connection: close" in said:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talking(
    kind: type[Http1 | Http2], *script: bytes | None
) -> AsyncIterator[tuple[Server, Callable[..., object]]]:
    """A server, and what asks it over one connection."""
    told = Server(list(script))
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    wire = kind(None)

    async def ask(body: bytes = b"x", seconds: float = 20.0, **headers: str) -> tuple[int, bytes]:
        times = {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}
        request = httpx.Request(
            "POST",
            f"http://127.0.0.1:{told.port}/v1/send?a=b",
            headers=headers,
            content=body,
            extensions={"timeout": times},
        )
        response = await wire.handle_async_request(request)
        return response.status_code, await response.aread()

    try:
        yield told, ask
    finally:
        await wire.aclose()
        server.close()
        await server.wait_closed()


@made
async def test_one_connection_carries_request_after_request(kind):
    async with talking(kind, PLAIN, PLAIN) as (server, ask):
        assert [await ask(b"one"), await ask(b"")] == [(200, b"ok")] * 2
    assert server.opened == 1
    assert server.asked[0].startswith(b"POST /v1/send?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.asked[0].endswith(b"\r\n\r\none")


@made
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (CHUNKED, (200, b"abcdefg")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN, (200, b"ok")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.0 200 OK\r\n\r\nall of it\r\nConnection: close", (200, b"all of it\r\nConnection: close")),
        (b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", (202, b"ok")),
    ],
    ids=["chunked", "1xx", "204", "until it closes", "connection: close"],
)  # fmt: skip
async def test_answers_of_every_form_are_read_and_the_next_one_is_its_own(said, expected, kind):
    async with talking(kind, said, PLAIN) as (server, ask):
        assert await ask() == expected
        assert await ask() == (200, b"ok")
    assert server.opened == (2 if b"close" in said else 1)


@made
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (None, httpx.RemoteProtocolError),
        (b"", httpx.ReadTimeout),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", httpx.ReadTimeout),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nConnection: close", httpx.RemoteProtocolError),
        (b"220 mx.example.org ESMTP\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", httpx.RemoteProtocolError),
    ],
    ids=["closed", "silent", "stuck", "cut off", "SMTP", "upgrade", "endless headers", "two lengths"],
)
@in_idle_time
async def test_what_is_no_answer_is_an_error_and_the_connection_is_not_used_again(said, error, kind):
    async with talking(kind, said, PLAIN) as (server, ask):
        with pytest.raises(error):
            await ask(seconds=0.3 if error is httpx.ReadTimeout else 20.0)
        assert await ask() == (200, b"ok")
    assert server.opened == 2


@made
async def test_an_endless_answer_is_cut_off(kind):
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * (ANSWER_LIMIT + 1)
    async with talking(kind, endless, PLAIN) as (server, ask):
        status, body = await ask()
        assert await ask() == (200, b"ok")
    assert (status, server.opened) == (200, 2)
    assert ANSWER_LIMIT - 1000 < len(body) <= ANSWER_LIMIT + 1


@made
async def test_a_header_cannot_begin_another_one(kind):
    async with talking(kind, PLAIN) as (server, ask):
        with pytest.raises(httpx.LocalProtocolError):
            await ask(Key="x\r\nBcc: everybody")
    assert server.asked == []


@made
@in_idle_time
async def test_a_long_request_is_not_late_while_it_is_being_written(kind):
    """The server begins to read when twice the patience for an answer has passed."""
    read = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = 0
        await reader.readuntil(b"\r\n\r\n")
        while size < 30_000_000:
            size += len(await reader.read(1_000_000))
            await asyncio.sleep(0.02)
        writer.write(PLAIN)
        await writer.drain()
        await read.wait()
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0, limit=1_000_000)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    wire = kind(None)
    times = {"connect": 9.0, "read": 0.5}
    request = httpx.Request("POST", url, content=b"x" * 30_000_000, extensions={"timeout": times})
    try:
        assert (await wire.handle_async_request(request)).status_code == 200
    finally:
        read.set()
        await wire.aclose()
        server.close()
        await server.wait_closed()


@made
async def test_what_was_closed_while_it_rested_is_opened_again_and_nothing_is_lost(kind):
    """The end of the first connection has not been looked at when the second request is written."""
    closed = PLAIN + b"HTTP/1.1 408 Too late\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with talking(kind, closed, PLAIN) as (server, ask):
        assert await ask(b"one") == (200, b"ok")
        time.sleep(0.2)  # as in a process that has something to compute
        assert await ask(b"two") == (200, b"ok")
    assert server.opened == 2
    assert [request[-3:] for request in server.asked] == [b"one", b"two"]


@made
async def test_nothing_was_written_where_nobody_listens_or_nobody_speaks_tls(kind):
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with pytest.raises(httpx.ConnectError):
        await kind(None).handle_async_request(httpx.Request("POST", url, content=b"x"))
    probe.close()

    async with talking(kind, PLAIN) as (server, _):
        wire = kind(ssl.create_default_context())
        request = httpx.Request(
            "POST",
            f"https://127.0.0.1:{server.port}/",
            content=b"x",
            extensions={"timeout": {"connect": 0.5}},
        )
        with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
            await wire.handle_async_request(request)
        await wire.aclose()
    assert server.asked == []


async def test_a_request_that_is_not_taken_is_late_and_one_that_is_refused_at_once_is_answered():
    """No other library here reads an answer while it writes."""
    refusal = b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno"
    said = [b"", refusal]
    over = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said.pop(0))
        await over.wait()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=10_000)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    wire = Http1(None)

    def request(seconds: float) -> httpx.Request:
        times = {"connect": 20.0, "read": 0.01, "write": seconds}
        return httpx.Request("POST", url, content=b"x" * 30_000_000, extensions={"timeout": times})

    try:
        with pytest.raises(httpx.WriteTimeout):
            await wire.handle_async_request(request(0.2))
        assert (await wire.handle_async_request(request(20.0))).status_code == 413
        assert not wire._line.quiet  # half a request is on its way there
    finally:
        over.set()
        await wire.aclose()
        server.close()
        await server.wait_closed()
