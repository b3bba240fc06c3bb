"""What every SMTP server says: commands by name, greeting, encryption, login (RFC 5321, 3207, 4954)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Generator, Iterable
from typing import Any

from mailer.sink.auth import decode, encode
from mailer.sink.wire import Wire

#: Yields challenges, is sent the client's answers, and returns what ``exchanged`` is told.
Exchange = Generator[bytes, bytes, Any]


class Dialogue(Wire):
    """One connection. A subclass adds the commands of a transaction, and decides who encrypts and logs in."""

    def __init__(self, hostname: str, latency: float = 0.0) -> None:
        super().__init__(latency)
        self._hostname = hostname
        self._greeted = False
        self._encrypted = False
        self._exchange: Exchange | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._commands: dict[bytes, Callable[[str], None]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"STARTTLS": self._starttls,
            b"NOOP": lambda _: self.write("250 2.0.0 Ok"),
            b"VRFY": lambda _: self.write("252 2.0.0 Send some mail, I will try my best"),
            b"QUIT": self._quit,
        }

    # What a subclass answers.

    def refuse(self, phase: str, reply: str) -> None:
        """Say so; 421 closes."""
        raise NotImplementedError

    def greeted(self, name: str) -> None:
        """After HELO or EHLO: what there was of a transaction is over. To EHLO it says what it offers."""
        raise NotImplementedError

    @property
    def tls(self) -> ssl.SSLContext | None:
        """With what STARTTLS goes on; None: not now."""
        raise NotImplementedError

    def encrypted(self) -> None:
        """After STARTTLS, when what was said before counts no more."""
        raise NotImplementedError

    def mechanism(self, name: str) -> Exchange | None:
        """Begin a login, by the name in capitals; None: not known."""
        raise NotImplementedError

    def exchanged(self, result: Any) -> None:
        """What the exchange returned."""
        raise NotImplementedError

    # Commands

    def line(self, line: bytes) -> None:
        if self._exchange is not None:
            self._auth_answer(self._exchange, line)
            return
        verb, _, argument = line.partition(b" ")
        command = self._commands.get(verb.upper(), self._unknown)
        command(argument.decode("utf-8", "surrogateescape").strip(" "))

    def _unknown(self, _: str) -> None:
        self.refuse("command", "500 5.5.1 Command unknown")

    def _quit(self, _: str) -> None:
        self.write("221 2.0.0 Bye")
        self.close()

    def _helo(self, name: str) -> None:
        if name:
            self._greeted = True
            self.write(f"250 {self._hostname}")
            self.greeted("HELO")
        else:
            self.refuse("helo", "501 5.5.4 Syntax: HELO name")

    def _ehlo(self, name: str) -> None:
        if name:
            self.greeted("EHLO")
        else:
            self.refuse("ehlo", "501 5.5.4 Syntax: EHLO name")

    def offer(self, greeting: str, keywords: Iterable[str]) -> None:
        """The answer to EHLO."""
        self._greeted = True
        lines = [greeting, *keywords]
        self.write("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _starttls(self, argument: str) -> None:
        if self.tls is None:
            self.refuse("starttls", "502 5.5.1 Not offered")
        elif argument:
            self.refuse("starttls", "501 5.5.4 Syntax: STARTTLS")
        elif self.more_waits:  # CVE-2011-0411: it would be taken as if it had come encrypted
            self.refuse("pipelining", "421 5.5.0 Input behind STARTTLS")
        else:
            self._stopped = True
            self._flush()
            self._handshake = asyncio.get_running_loop().create_task(self._encrypt(self.tls))

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        self.transport.write(b"220 2.0.0 Go ahead\r\n")
        if await self.start_tls(context):
            self._encrypted, self._greeted = True, False
            self.encrypted()
            self.go_on()

    # Login

    def start_exchange(self, argument: str) -> None:
        """AUTH, once it is allowed: mechanism, and perhaps the first answer."""
        name, _, initial = argument.partition(" ")
        exchange = self.mechanism(name.upper())
        if exchange is None:
            self.refuse("auth", "504 5.5.4 Mechanism unknown")
            return
        self._exchange = exchange
        challenge = next(exchange)
        if initial:
            self._auth_answer(exchange, initial.encode("utf-8", "surrogateescape"))
        else:
            self.write(f"334 {encode(challenge)}")

    def _auth_answer(self, exchange: Exchange, line: bytes) -> None:
        answer = decode(line)
        if answer is None:
            self._exchange = None
            self.refuse("auth", "501 5.5.2 Cancelled, or not base64")
            return
        try:
            self.write(f"334 {encode(exchange.send(answer))}")
        except StopIteration as end:
            self._exchange = None
            self.exchanged(end.value)
