"""One connection: greeting, encryption and login (RFC 5321, 3207, 4954)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mailer.gateway.admission import Guest
from mailer.gateway.auth import MECHANISMS, Exchange
from mailer.gateway.transaction import NO_ENTRY, Transaction
from mailer.sink.auth import decode, encode

if TYPE_CHECKING:
    from mailer.gateway.server import Gateway

#: Failed logins on one connection.
MOST_FAILURES = 3


class Session(Transaction):
    """One connection to a ``Gateway``. ``since`` and ``heard_at`` are times of the event loop."""

    def __init__(self, gateway: Gateway, *, encrypted: bool) -> None:
        super().__init__(gateway, encrypted=encrypted)
        self.peer = ""
        self.since = self.heard_at = 0.0
        self._failures = 0
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[Any] | None = None
        self._commands: dict[bytes, Callable[[str], None]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"STARTTLS": self._starttls,
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"RSET": self._rset,
            b"NOOP": lambda _: self.write("250 2.0.0 Ok"),
            b"VRFY": lambda _: self.write("252 2.0.0 Send some mail, I will try my best"),
            b"QUIT": self._quit,
        }

    # The connection

    def opened(self) -> None:
        self.peer = str((self.transport.get_extra_info("peername") or ("",))[0])
        self.since = self.heard_at = asyncio.get_running_loop().time()
        self.guest = self._gateway.without_login(self.peer)
        if refusal := self._gateway.opened(self):
            self._answer(refusal)
        else:
            self.write(f"220 {self._config.hostname} ESMTP ready")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gateway.closed(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        super().data_received(data)

    def line(self, line: bytes) -> None:
        if self._exchange is not None:
            self._auth_answer(self._exchange, line)
            return
        verb, _, argument = line.partition(b" ")
        command = self._commands.get(verb.upper(), self._unknown)
        command(argument.decode("utf-8", "surrogateescape").strip(" "))

    def _unknown(self, _: str) -> None:
        self._answer("500 5.5.1 Command unknown")

    def _quit(self, _: str) -> None:
        self.write("221 2.0.0 Bye")
        self.close()

    # Greeting and encryption

    def _helo(self, name: str) -> None:
        self._forget()
        self._greeted = bool(name)
        self.write(f"250 {self._config.hostname}" if name else "501 5.5.4 Syntax: HELO name")

    def _ehlo(self, name: str) -> None:
        if not name:
            self._answer("501 5.5.4 Syntax: EHLO name")
            return
        self._forget()
        self._greeted = True
        lines = [self._config.hostname, *self._keywords()]
        self.write("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _starttls(self, argument: str) -> None:
        if not self._may_encrypt or argument:
            self._answer("503 5.5.1 Not now")
        elif self.more_waits:  # CVE-2011-0411: it would be taken as if it had come encrypted
            self._answer("421 5.5.0 Input behind STARTTLS")
        else:
            self._stopped = True
            self._task = asyncio.get_running_loop().create_task(self._encrypt())

    async def _encrypt(self) -> None:
        self.transport.write(b"220 2.0.0 Go ahead\r\n")
        context = self._gateway.tls
        if context is not None and await self.start_tls(context):
            self._encrypted, self._greeted = True, False
            self.guest = self._gateway.without_login(self.peer)
            self._forget()

    # Login

    def _auth(self, argument: str) -> None:
        if not self._encrypted:
            self._answer("538 5.7.11 Encryption is needed first")
        elif not self._greeted or self._login[0] or self._envelope is not None:
            self._answer("503 5.5.1 Not now")
        elif self._gateway.failed_logins.too_many(self.peer):
            self._answer("421 4.7.0 Too many failed logins, come back later")
        else:
            self._start_exchange(*argument.partition(" ")[::2])

    def _start_exchange(self, mechanism: str, initial: str) -> None:
        start = MECHANISMS.get(mechanism.upper())
        if start is None:
            self._answer("504 5.5.4 Mechanism unknown")
            return
        exchange = self._exchange = start()
        challenge = next(exchange)
        if initial:
            self._auth_answer(exchange, initial.encode("utf-8", "surrogateescape"))
        else:
            self.write(f"334 {encode(challenge)}")

    def _auth_answer(self, exchange: Exchange, line: bytes) -> None:
        answer = decode(line)
        if answer is None:
            self._exchange = None
            self._answer("501 5.5.2 Cancelled, or not base64")
            return
        try:
            self.write(f"334 {encode(exchange.send(answer))}")
        except StopIteration as end:
            self._exchange = None
            self._login = end.value or ("", "")
            self._after(self._gateway.log_in(*self._login), self._logged_in)

    def _logged_in(self, said: Guest | str) -> None:
        if isinstance(said, Guest):
            self._welcome(said)
            self.write("235 2.7.0 Welcome")
            return
        self._login = ("", "")
        if said != NO_ENTRY:
            self._answer(said)
            return
        self._failures += 1
        count = self._gateway.failed_logins.failed(self.peer)
        delay = self._config.login_delay * 2 ** min(count - 1, 4)
        self.hold(delay, self._not_welcome)

    def _not_welcome(self) -> None:
        self._answer(NO_ENTRY)
        if self._failures >= MOST_FAILURES:
            self.close()
