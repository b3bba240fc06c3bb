"""An SMTP server in the test's own event loop that follows a script, and keeps state as a real one does.

``script(step, visit)`` is asked at each step what to do; None means: what a good server would do. Steps:
CONNECT EHLO HELO STARTTLS AUTH MAIL RCPT DATA BODY DOT RSET QUIT.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from mailer.backends.contract import BackendConfig
from mailer.backends.smtp.backend import SmtpBackend, connect
from mailer.message import Outgoing

BODY = b"From: a@sender.example\r\nSubject: hello\r\n\r\nOne line.\r\n"
EXTENSIONS = ("PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN")


#: linux/tcp_states.h; the first octet of TCP_INFO.
ESTABLISHED = 1


@dataclass(frozen=True)
class Act:
    """``reply`` may hold several lines, or several replies. Without one the server is silent."""

    reply: str = ""
    close: bool = False  # then the connection ends
    hang: bool = False  # then the server does nothing more
    store: bool = False  # at DOT: take the message all the same
    reset: bool = False  # the connection ends with RST instead of FIN


DROP = Act(close=True)
HANG = Act(hang=True)


def gone(reply: str) -> Act:
    return Act(reply, close=True)


@dataclass
class Visit:
    """One connection, as the script sees it."""

    number: int
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    asked: str = ""  # the argument of the present command
    stored: int = 0
    encrypted: bool = False


def is_open(sock: socket.socket) -> bool:
    """Whether the other end has closed nothing yet, which the event loop may hear later than that somebody
    else has come."""
    return sock.fileno() >= 0 and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


Script = Callable[[str, Visit], Act | None]


class _End(Exception):
    pass


@dataclass
class Scripted:
    script: Script
    extensions: tuple[str, ...] = EXTENSIONS
    chop: int = 0  # write replies in pieces of so many octets
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    stored: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    visits: list[Visit] = field(default_factory=list)
    open: int = 0
    most: int = 0
    port: int = 0
    _sockets: set[socket.socket] = field(default_factory=set)

    def url(self, tls: str = "none") -> str:
        return f"smtp://127.0.0.1:{self.port}?tls={tls}"

    def copies(self, recipient: str) -> int:
        return sum(recipient in recipients for _, recipients, _ in self.stored)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(len(self.visits), encrypted=self.implicit)
        self.visits.append(visit)
        self.open += 1
        own = writer.get_extra_info("socket")
        self._sockets.add(own)
        self.most = max(self.most, sum(map(is_open, self._sockets)))
        try:
            await _Conversation(self, visit, reader, writer).run()
        except (_End, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            pass
        finally:
            self.open -= 1
            self._sockets.discard(own)
            writer.transport.abort()


class _Conversation:
    def __init__(
        self, server: Scripted, visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.visit, self.reader, self.writer = server, visit, reader, writer

    async def run(self) -> None:
        await self.act("CONNECT", "220 test ESMTP")
        while True:
            line = await self.reader.readuntil(b"\r\n")
            self.server.received += line
            self.server.log.append(line.decode().rstrip())
            verb, _, self.visit.asked = line.decode().strip().partition(" ")
            step = getattr(self, f"on_{verb.lower()}", None)
            if step is None:
                await self.say("500 5.5.1 what?")
            else:
                await step()

    async def act(self, step: str, usual: str) -> bool:
        """Do as the script says. True: its effect shall be had."""
        return await self.do(self.server.script(step, self.visit), usual)

    async def do(self, act: Act | None, usual: str = "") -> bool:
        await self.say(act.reply if act else usual)
        if act and act.hang:
            await asyncio.Event().wait()
        if act and act.reset:
            self.writer.transport.abort()
            raise _End
        if act and act.close:
            await self.leave()
        return act is None or (act.reply or "9")[0] in "23"

    async def say(self, text: str) -> None:
        data = "".join(f"{line}\r\n" for line in text.split("\n") if line).encode()
        pieces = (
            [data[i : i + self.server.chop] for i in range(0, len(data), self.server.chop)]
            if self.server.chop
            else [data]
        )
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if self.server.chop:
                await asyncio.sleep(0)

    async def leave(self) -> None:
        """FIN, and read on until the client has gone too: what was said before surely arrives."""
        if self.writer.can_write_eof():
            self.writer.write_eof()
            while await self.reader.read(65536):
                pass
        raise _End

    async def on_ehlo(self) -> None:
        offered = [*self.server.extensions]
        if self.server.tls and not self.visit.encrypted:
            offered.append("STARTTLS")
        lines = ["test", *offered]
        usual = "\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{line}" for i, line in enumerate(lines))
        await self.act("EHLO", usual)

    async def on_helo(self) -> None:
        await self.act("HELO", "250 test")

    async def on_starttls(self) -> None:
        if await self.act("STARTTLS", "220 go ahead"):
            await self.writer.start_tls(self.server.tls)
            self.visit.encrypted = True

    async def on_auth(self) -> None:
        await self.act("AUTH", "235 2.7.0 welcome")

    async def on_mail(self) -> None:
        if self.visit.sender is not None:
            return await self.say("503 5.5.1 nested MAIL command")
        if await self.act("MAIL", "250 2.1.0 sender fine"):
            self.visit.sender = _path(self.visit.asked)
        return None

    async def on_rcpt(self) -> None:
        if self.visit.sender is None:
            return await self.say("503 5.5.1 need MAIL")
        if await self.act("RCPT", "250 2.1.5 recipient fine"):
            self.visit.recipients.append(_path(self.visit.asked))
        return None

    async def on_data(self) -> None:
        act = self.server.script("DATA", self.visit)
        if not self.visit.recipients and act is None:
            await self.say("554 5.5.1 no valid recipients")
        elif await self.do(act, "354 go on") and (act is None or act.reply.startswith("354")):
            await self.body()

    async def body(self) -> None:
        data = b""
        while not (data.endswith(b"\r\n.\r\n") or data == b".\r\n"):
            act = self.server.script("BODY", self.visit)
            if act and len(data) > 1000:
                await self.do(act)
            piece = await self.reader.readuntil(b"\r\n")
            self.server.received += piece
            data += piece
        act = self.server.script("DOT", self.visit)
        if act is None or act.store:
            self.server.stored.append((self.visit.sender or "", tuple(self.visit.recipients), _plain(data)))
            self.visit.stored += 1
        await self.do(act, f"250 2.0.0 Ok: queued as {len(self.server.stored):05X}")
        self.visit.sender, self.visit.recipients = None, []

    async def on_rset(self) -> None:
        if await self.act("RSET", "250 2.0.0 flushed"):
            self.visit.sender, self.visit.recipients = None, []

    async def on_quit(self) -> None:
        await self.act("QUIT", "221 2.0.0 bye")
        await self.leave()


def _path(argument: str) -> str:
    return argument[argument.index("<") + 1 : argument.index(">")]


def _plain(data: bytes) -> bytes:
    return b"".join(
        line[1:] if line.startswith(b".") else line for line in data[:-3].splitlines(keepends=True)
    )


def usual(step: str, visit: Visit) -> None:
    """A good server."""


@contextlib.asynccontextmanager
async def serving(script: Script = usual, **settings: object) -> AsyncIterator[Scripted]:
    server = Scripted(script, **settings)  # type: ignore[arg-type]
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)

    context = server.tls if server.implicit else None
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    # Whoever does not read shall be noticed.
    listening.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def backend_for(
    server: Scripted,
    *,
    connections: int = 1,
    user: str | None = None,
    password: str | None = None,
    **options: str,
) -> AsyncIterator[SmtpBackend]:
    config = BackendConfig(
        "test",
        f"smtp://127.0.0.1:{server.port}",
        user=user,
        password=password,
        connections=connections,
        options={"tls": "none", **options},
    )
    backend = connect(config)
    try:
        yield backend
    finally:
        await backend.close()


def message(number: int = 0, *recipients: str, data: bytes = BODY, **fields: object) -> Outgoing:
    to = recipients or (f"user{number}@test.example",)
    return Outgoing(
        number, 1, f"from{number}@sender.example", to, data, f"<{number}@sender.example>", **fields
    )  # type: ignore[arg-type]


class Marks:
    """A ledger's side of the mark: which were asked for, and which are refused."""

    def __init__(self, *refuse: int) -> None:
        self.asked: list[int] = []
        self.refuse = set(refuse)

    async def __call__(self, outgoing: Outgoing) -> bool:
        self.asked.append(outgoing.id)
        return outgoing.id not in self.refuse
