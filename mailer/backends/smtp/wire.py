"""Bytes in and out of one open session: replies in order, a time limit for each, progress of a body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

#: Longer than any line or reply a sane server sends (RFC 5321 section 4.5.3.1.5 allows 512 octets a line).
MAX_LINE = 8_192
MAX_REPLY = 32_768

_CODES = {str(code).encode(): code for code in range(200, 600)}


class Raw(NamedTuple):
    """One reply as it came: its code, and its lines without the code, joined by newlines."""

    code: int
    text: bytes


class Wire(asyncio.Protocol):
    """Takes an open transport over (``attach``) and reads replies in order.

    ``read`` never raises: it returns fewer replies than wanted when no more will come, and ``lost``
    then says why. Time limits are checked by one lazy timer, not by one per reply.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.lost: str | None = None
        self.timed_out = False
        self._replies: list[Raw] = []
        self._rest = b""
        self._lines: list[bytes] = []
        self._code = 0
        self._limits: Sequence[float] = ()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._patience = 0.0
        self._deadline = 0.0
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._noticed: Callable[[], None] | None = None
        self._gone = self._loop.create_future()

    def attach(self, transport: asyncio.BaseTransport) -> None:
        """Everything that arrives on this transport from now on is ours."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self.connection_lost(None)

    @property
    def transport(self) -> asyncio.Transport:
        """For whoever encrypts it. ``attach`` first."""
        if self._transport is None:
            raise ConnectionError("not attached")
        return self._transport

    def let_go(self) -> None:
        """The transport belongs to another protocol now."""
        self._transport = None
        self.connection_lost(None)

    # --- what sessions call ----------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Open, with nothing left to read: what must be true before anything new is written."""
        return self.lost is None and not (self._replies or self._rest or self._lines)

    def write(self, data: bytes) -> None:
        if self.lost is None and self._transport is not None:
            self._transport.write(data)

    async def read(self, limits: Sequence[float]) -> list[Raw]:
        """One reply per limit; each may take that many seconds after the one before it."""
        wanted = len(limits)
        if len(self._replies) < wanted and self.lost is None:
            self._limits = limits
            await self._wait(limits[len(self._replies)])
            self._limits = ()
        replies = self._replies[:wanted]
        del self._replies[:wanted]
        return replies

    def unread(self, replies: Sequence[Raw]) -> None:
        """Put these back: the next ``read`` begins with them."""
        self._replies[:0] = replies

    async def flush(self, stall: float) -> bool:
        """Wait until more may be written. False: the connection is lost, or a reply came first.

        ``stall`` is how long the other side may take nothing at all.
        """
        if self._paused and self.quiet:
            await self._wait(stall)
        return self.quiet

    async def empty(self) -> None:
        """Wait until every byte has left this process."""
        while self.lost is None and self._buffered:  # noqa: ASYNC110 - crash tests only; nothing tells
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)  # uvloop writes at the end of the turn

    def notice(self, callback: Callable[[], None] | None) -> None:
        """While idle: call this when anything arrives, or the connection ends."""
        self._noticed = callback
        if callback is not None and not self.quiet:
            callback()

    def abort(self) -> None:
        """Close at once. Nothing that is still buffered is sent."""
        self._lose("closed by us")
        if self._transport is not None:
            self._transport.abort()

    async def close(self, patience: float) -> None:
        """Close in good order; after ``patience`` seconds at once."""
        self._lose("closed by us")
        if self._transport is None:
            return
        self._transport.close()
        await asyncio.wait([self._gone], timeout=patience)
        if not self._gone.done():
            self._transport.abort()

    # --- what the event loop calls ---------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.lost is not None:
            return
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            code = _CODES.get(line[:3])
            if code and line[3:4] == b" " and not self._lines:
                self._replies.append(Raw(code, line[4:].rstrip()))
            else:
                self._line(line, code)
                if self.lost is not None:
                    break
        if len(self._rest) > MAX_LINE:
            self._lose("a reply without end")
        elif self._waiter is not None:
            self._progress()
        elif self._noticed is not None:
            self._noticed()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)
        self._lose("connection lost")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if not self._limits:
            self._wake()

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _buffered(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    def _line(self, line: bytes, code: int | None) -> None:
        """A line of a longer reply, or of no reply at all."""
        mark = line[3:4]
        if code is None or mark not in b" -\r" or (self._lines and code != self._code):
            self._lose("not an SMTP reply")
        elif mark != b"-":
            text = line[4:].rstrip()
            if self._lines:
                text = b"\n".join((*self._lines, text))
                self._lines.clear()
            self._replies.append(Raw(code, text))
        else:
            self._code = code
            self._lines.append(line[4:].rstrip())
            if sum(map(len, self._lines)) + len(self._lines) > MAX_REPLY:
                self._lose("a reply without end")

    def _progress(self) -> None:
        """More came, and somebody waits: for all of it, or for the next with a limit of its own."""
        have = len(self._replies)
        if have >= len(self._limits) or (have and self._replies[-1].code == 421):
            self._wake()
        elif have:
            self._allow(self._limits[have])

    def _allow(self, seconds: float) -> None:
        self._patience = seconds
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()

    async def _wait(self, seconds: float) -> None:
        self._unsent = self._buffered
        self._allow(seconds)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        """The timer fired: perhaps for a wait that is long over, perhaps while a body is still leaving."""
        self._timer = None
        if self._waiter is None:
            return
        unsent = self._buffered
        if self._loop.time() < self._deadline:
            self._arm()
        elif unsent < self._unsent:
            self._unsent = unsent
            self._allow(self._patience)
        else:
            self.timed_out = True
            self._lose("timed out")

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
        self._wake()
        if self._noticed is not None:
            self._noticed()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
