"""Replies in order, with limits that are for standing still."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.backends.smtp.wire import MAX_LINE, MAX_REPLY, Raw, Wire
from tests.idle_time import in_idle_time
from tests.servers import PATIENCE


@contextlib.asynccontextmanager
async def wired(*, small: bool = False) -> AsyncIterator[tuple[Wire, socket.socket]]:
    """A wire, and the other end of it."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    if small:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire = Wire()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    wire.attach(transport)
    try:
        yield wire, theirs
    finally:
        wire.abort()
        theirs.close()
        await asyncio.sleep(0)


@in_idle_time
async def test_replies_come_in_order_and_wait_for_each_other() -> None:
    async with wired() as (wire, server):
        server.send(b"250-one\r\n250-two\r\n250 three\r\n354 go\r\n4")
        assert await wire.read((1.0, 1.0)) == [Raw(250, b"one\ntwo\nthree"), Raw(354, b"go")]
        assert not wire.quiet
        server.send(b"50\r\n250\n")
        assert await wire.read((1.0, 1.0)) == [Raw(450, b""), Raw(250, b"")]
        assert wire.quiet


@in_idle_time
async def test_fewer_replies_when_the_connection_ends() -> None:
    async with wired() as (wire, server):
        server.send(b"250 one\r\n250 incompl")
        server.shutdown(socket.SHUT_WR)
        assert await wire.read((1.0, 1.0, 1.0)) == [Raw(250, b"one")]
        assert wire.lost == "connection lost"
        assert not wire.timed_out


@in_idle_time
async def test_each_reply_has_its_own_limit() -> None:
    async with wired() as (wire, server):
        reading = asyncio.ensure_future(wire.read((5.0, 0.05)))
        await asyncio.sleep(0.01)
        server.send(b"250 one\r\n")
        assert await reading == [Raw(250, b"one")]
        assert wire.timed_out


@in_idle_time
async def test_a_421_ends_the_waiting() -> None:
    async with wired() as (wire, server):
        server.send(b"421 bye\r\n")
        assert await wire.read((5.0, 5.0, 5.0)) == [Raw(421, b"bye")]


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"99 x\r\n",
        b"600 x\r\n",
        b"250x\r\n",
        b"250-a\r\n251 b\r\n",
        b"\r\n",
        b"\x00\r\n",
        b"2 50\r\n",
        b"+25 x\r\n",
        b"x" * (MAX_LINE + 1),
        b"250-" + b"y" * 1000 + b"\r\n",
    ],
)
@in_idle_time
async def test_what_is_no_reply_ends_the_session(garbage: bytes) -> None:
    repeats = MAX_REPLY // 1000 + 2 if garbage.startswith(b"250-y") else 1
    async with wired() as (wire, server):
        server.send(b"250 fine\r\n" + garbage * repeats + b"250 not looked at\r\n")
        assert await wire.read((1.0, 1.0)) == [Raw(250, b"fine")]
        assert wire.lost in ("not an SMTP reply", "a reply without end")


@in_idle_time
async def test_bytes_that_still_leave_are_no_timeout() -> None:
    """The limit of the body phase is for standing still, not for being slow."""
    async with wired(small=True) as (wire, server):
        data = b"x" * 300_000

        async def slowly() -> int:
            got = 0
            while got < len(data):
                got += len(await asyncio.get_running_loop().sock_recv(server, 8192))
                await asyncio.sleep(0.03)
            return got

        reading = asyncio.ensure_future(slowly())
        started = asyncio.get_running_loop().time()
        wire.write(data)
        assert await wire.flush(0.4)
        took = asyncio.get_running_loop().time() - started
        assert await reading == len(data)
        assert took > 0.4


@in_idle_time
async def test_bytes_that_do_not_leave_are_one() -> None:
    async with wired(small=True) as (wire, _):
        wire.write(b"x" * 1_000_000)
        assert not await wire.flush(0.1)
        assert wire.timed_out


@in_idle_time
async def test_a_reply_ends_the_wait_for_room() -> None:
    async with wired(small=True) as (wire, server):
        wire.write(b"x" * 1_000_000)
        server.send(b"552 too much\r\n")
        assert not await wire.flush(5.0)
        assert await wire.read((1.0,)) == [Raw(552, b"too much")]


@in_idle_time
async def test_idle_is_watched() -> None:
    async with wired() as (wire, server):
        noticed = asyncio.Event()
        wire.notice(noticed.set)
        assert not noticed.is_set()
        server.close()
        await asyncio.wait_for(noticed.wait(), PATIENCE)
        assert wire.lost


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=8))
def test_any_bytes_in_any_pieces(data: bytes, sizes: list[int]) -> None:
    """However it is cut, the same replies are read."""

    async def feed(cuts: list[int]) -> tuple[list[Raw], str | None]:
        wire, rest = Wire(), b"250-a\r\n250 b\r\n" + data + b"\r\n354 x\r\n"
        for size in cuts:
            wire.data_received(rest[:size])
            rest = rest[size:]
        wire.data_received(rest)
        replies = await wire.read((0.0,) * 10) if wire.lost else wire._replies
        return replies, wire.lost

    assert asyncio.run(feed(sizes)) == asyncio.run(feed([]))
