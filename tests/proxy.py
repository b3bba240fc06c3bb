"""A TCP proxy that a test can order to be slow, to hang or to break, at any byte it likes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from tests.servers import PATIENCE

Direction = Literal["up", "down"]


@dataclass
class Line:
    """One direction. All of it may be changed while connections are open."""

    delay: float = 0.0  # seconds; keeps the order, does not limit the rate
    swallow: bool = False  # read and throw away: the other side looks half-open
    cut_after: int | None = None  # octets per connection that still pass
    cut_at: bytes | None = None  # seen in the stream: the connection breaks …
    let_pass: bool = False  # … after these octets were handed on, instead of before
    matches: int = (
        1  # … at this many-th match, counted over all connections; and at each that follows, unless …
    )
    then: list[int] | None = None  # … these say at which, counted from the break before; then no more
    octets: int = 0  # passed so far, over all connections
    cuts: int = 0  # connections that broke because of this line
    seen: bytearray = field(default_factory=bytearray)  # everything that passed, when the proxy records

    def next_break(self) -> None:
        """After one at a match."""
        if self.then:
            self.matches = self.then.pop(0)
        elif self.then is not None:
            self.cut_at = None


class TcpProxy:
    """Listens on ``port`` and forwards to ``target``, from a thread of its own.

    ``up`` is client to server, ``down`` the way back. Use it as a context manager::

        with TcpProxy(sink.port) as proxy:
            proxy.up.delay = proxy.down.delay = 0.025       # 50 ms of round trip
            proxy.up.cut_at = b"\\r\\n.\\r\\n"                   # break before the final dot passes
    """

    def __init__(self, target: int, *, delay: float = 0.0, record: bool = False) -> None:
        self.target = target
        self.up, self.down = Line(delay), Line(delay)
        self.record = record
        self.refuse = False  # accept and close at once
        self.connections = 0
        self.port = 0
        self._live: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}?tls=none"

    @property
    def open(self) -> int:
        return len(self._live)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *exc: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drop(self) -> None:
        """Break every open connection now, with a reset."""
        self._call(self._drop())

    def silence(self) -> None:
        """Open connections stay open, and nothing passes them any more; those that come later are well."""
        for connection in list(self._live):
            connection.silent = True

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        """Nothing may stay open: it would be found, and warned of, in the middle of a later test."""
        self._loop.remove_reader(self._server.sockets[0].fileno())
        for _ in range(5):  # asyncio takes some turns from accepting a connection to handing it on,
            await asyncio.sleep(0)
        self._server.close()  # and forgets those that it has not handed on by then
        while self._tasks:
            while self._live:
                await self._drop()
            for task in self._tasks:  # these have not reached the target yet
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _drop(self) -> None:
        broken = set(self._live)  # whoever comes again at once is not among them
        for connection in broken:
            connection.reset()
        while broken & self._live:
            await asyncio.sleep(0)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._accept(reader, writer))
        self._tasks.add(task)

        def ended(_: object) -> None:
            self._tasks.discard(task)
            writer.transport.abort()

        task.add_done_callback(ended)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.close()
            return
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        connection = Connection(self, (reader, writer), upstream)
        self._live.add(connection)
        try:
            await connection.run()
        finally:
            self._live.discard(connection)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection:
    """One client and its own connection to the target."""

    def __init__(self, proxy: TcpProxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self._broken = asyncio.Event()
        self.silent = False

    def cut(self) -> None:
        """Close both sides; what already passed still arrives."""
        self._broken.set()

    def reset(self) -> None:
        """Close both sides with a reset; what already passed may be lost."""
        self._broken.set()
        for _, writer in (self._client, self._server):
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # already closed by the other side
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def run(self) -> None:
        passing: asyncio.Future[Any] = asyncio.gather(
            self._pass(self._proxy.up, self._client[0], self._server[1]),
            self._pass(self._proxy.down, self._server[0], self._client[1]),
        )
        broken: asyncio.Future[Any] = asyncio.ensure_future(self._broken.wait())
        await asyncio.wait([passing, broken], return_when=asyncio.FIRST_COMPLETED)
        passing.cancel()
        broken.cancel()
        await asyncio.gather(passing, broken, return_exceptions=True)
        await asyncio.gather(self._close(self._client[1]), self._close(self._server[1]))

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _pass(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read on while earlier octets wait out their delay, or a delay would become a rate."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(line, queue, writer))
        clock = asyncio.get_running_loop().time
        try:
            while data := await self._read(reader):
                queue.put_nowait((clock() + line.delay, data))
            queue.put_nowait((clock() + line.delay, b""))
            await delivery
        finally:
            delivery.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(65536)
        except OSError:
            self.cut()
            return b""

    async def _deliver(
        self, line: Line, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        clock, filter_ = asyncio.get_running_loop().time, Filter(line)
        while True:
            due, data = await queue.get()
            if due > clock():
                await asyncio.sleep(due - clock())
            if not data or self._broken.is_set():
                break
            if self.silent:
                continue
            passing = filter_.feed(data)
            if filter_.cut:
                line.cuts += 1
                self.cut()  # first, so that no answer to these octets slips through
            if self._proxy.record:
                line.seen += passing
            writer.write(passing)
            with contextlib.suppress(OSError):
                await writer.drain()
        if writer.can_write_eof() and not line.swallow:
            with contextlib.suppress(OSError):
                writer.write_eof()


class Filter:
    """What one connection lets pass in one direction, and whether it breaks there."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._passed = 0
        self._tail = b""
        self.cut = False

    def feed(self, data: bytes) -> bytes:
        if self._line.swallow:
            return b""
        allowed = min(len(data), self._by_count(len(data)), self._by_match(data))
        self.cut = self.cut or allowed < len(data)
        self._passed += allowed
        self._line.octets += allowed
        return data[:allowed]

    def _by_count(self, size: int) -> int:
        limit = self._line.cut_after
        if limit is None or self._passed + size < limit:
            return size
        self.cut = True
        return max(0, limit - self._passed)

    def _by_match(self, data: bytes) -> int:
        """A pattern may straddle two reads; then the part in the first has already passed."""
        pattern = self._line.cut_at
        if pattern is None:
            return len(data)
        window = self._tail + data
        at = window.find(pattern)
        while at >= 0:
            self._line.matches -= 1
            if self._line.matches <= 0:
                self.cut = True
                self._line.next_break()
                end = at + len(pattern) if self._line.let_pass else at
                return max(0, end - len(self._tail))
            at = window.find(pattern, at + 1)
        self._tail = window[len(window) - len(pattern) + 1 :] if len(pattern) > 1 else b""
        return len(data)
