"""The dialogue with one client: greeting, encryption, login, and the commands of a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mailer.sink import auth
from mailer.sink.transaction import Transaction

if TYPE_CHECKING:
    from mailer.sink.server import Sink


class Session(Transaction):
    """One connection to a ``Sink``."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._encrypted = sink.config.tls
        self._exchange: auth.Exchange | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._commands: dict[bytes, Callable[[str], None]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"STARTTLS": self._starttls,
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"RSET": self._rset,
            b"NOOP": lambda _: self.write("250 2.0.0 Ok"),
            b"VRFY": lambda _: self.write("252 2.0.0 Send some mail, I will try my best"),
            b"QUIT": self._quit,
        }

    # The connection

    def opened(self) -> None:
        self._number = self._sink.opened(self)
        if self._sink.received.open > self._config.max_connections:
            self._refuse("connect", "421 4.3.2 Too many connections")
            return
        greeting = f"220 {self._config.hostname} ESMTP mailer sink"
        self._apply("connect", str(self._number), self.write, greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._sink.closed(self)

    def line(self, line: bytes) -> None:
        if self.more_waits and "PIPELINING" not in self._offered:
            self._refuse("pipelining", "421 5.5.0 Pipelining was not offered")
        elif self._exchange is not None:
            self._auth_answer(self._exchange, line)
        else:
            verb, _, argument = line.partition(b" ")
            command = self._commands.get(verb.upper(), self._unknown)
            command(argument.decode("utf-8", "surrogateescape").strip(" "))

    def _unknown(self, _: str) -> None:
        self.write("500 5.5.1 Command unknown")

    def _quit(self, _: str) -> None:
        self.write("221 2.0.0 Bye")
        self.close()

    # Greeting, encryption, login

    def _helo(self, name: str) -> None:
        self._envelope, self._greeted, self._offered = None, True, frozenset()
        self.write(f"250 {self._config.hostname}" if name else "501 5.5.4 Syntax: HELO name")

    def _ehlo(self, name: str) -> None:
        if not name:
            self.write("501 5.5.4 Syntax: EHLO name")
            return
        self._envelope = None
        self._apply("ehlo", str(self._number), self._offer, f"250 {self._config.hostname}")

    def _offer(self, reply: str) -> None:
        keywords = list(self._keywords())
        self._greeted, self._offered = True, frozenset(keyword.split(" ")[0] for keyword in keywords)
        lines = [reply[4:], *keywords]
        self.write("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _keywords(self) -> Iterable[str]:
        for name in self._config.extensions:
            yield f"SIZE {self._config.max_size}" if name == "SIZE" else name
        if self._config.chunking:
            yield "CHUNKING"
        if self._config.starttls and not self._encrypted:
            yield "STARTTLS"
        if self._config.auth and self._may_log_in:
            yield f"AUTH {' '.join(auth.MECHANISMS)}"

    @property
    def _may_log_in(self) -> bool:
        """A server that can encrypt does not want passwords in clear."""
        return self._encrypted or not self._config.starttls

    def _starttls(self, _: str) -> None:
        if "STARTTLS" not in self._offered:
            self.write("502 5.5.1 Not offered")
        elif self.more_waits:
            self._refuse("pipelining", "421 5.5.0 Input behind STARTTLS")
        else:
            self._stopped = True
            self._handshake = asyncio.get_running_loop().create_task(self._encrypt())

    async def _encrypt(self) -> None:
        self.transport.write(b"220 2.0.0 Go ahead\r\n")
        if await self.start_tls(self._sink.tls_context()):
            self._encrypted, self._greeted, self._offered = True, False, frozenset()
            self._envelope = None
            self._sink.received.encrypted += 1

    def _auth(self, argument: str) -> None:
        if not self._config.auth:
            self.write("502 5.5.1 Not offered")
        elif not self._may_log_in:
            self._refuse("auth", "538 5.7.11 Encryption is needed first")
        elif self._logged_in or self._envelope is not None:
            self.write("503 5.5.1 Not now")
        else:
            self._apply("auth", str(self._number), lambda _: self._start_exchange(argument), "235")

    def _start_exchange(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        exchange = self._sink.login.start(mechanism.upper())
        if exchange is None:
            self._refuse("auth", "504 5.5.4 Mechanism unknown")
            return
        self._exchange = exchange
        challenge = next(exchange)
        if initial:
            self._auth_answer(exchange, initial.encode("utf-8", "surrogateescape"))
        else:
            self.write(f"334 {auth.encode(challenge)}")

    def _auth_answer(self, exchange: auth.Exchange, line: bytes) -> None:
        answer = auth.decode(line)
        if answer is None:
            self._exchange = None
            self._refuse("auth", "501 5.5.2 Cancelled, or not base64")
            return
        try:
            self.write(f"334 {auth.encode(exchange.send(answer))}")
        except StopIteration as end:
            self._exchange, self._logged_in = None, end.value
            self._welcome()

    def _welcome(self) -> None:
        if self._logged_in:
            self._sink.received.logins += 1
            self.write("235 2.7.0 Welcome")
        else:
            self._refuse("auth", "535 5.7.8 Login refused")
