"""One connection to a sink: greeting, encryption and login, where the rules step in."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mailer.sink import auth
from mailer.sink.dialogue import Exchange
from mailer.sink.transaction import Transaction

if TYPE_CHECKING:
    from mailer.sink.server import Sink


class Session(Transaction):
    """One connection to a ``Sink``."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._encrypted = sink.config.tls
        self._commands |= {
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"RSET": self._rset,
        }

    # The connection

    def opened(self) -> None:
        self._number = self._sink.opened(self)
        if self._sink.received.open > self._config.max_connections:
            self.refuse("connect", "421 4.3.2 Too many connections")
            return
        greeting = f"220 {self._config.hostname} ESMTP mailer sink"
        self._apply("connect", str(self._number), self.write, greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._sink.closed(self)

    def line(self, line: bytes) -> None:
        if self.more_waits and "PIPELINING" not in self._offered:
            self.refuse("pipelining", "421 5.5.0 Pipelining was not offered")
        else:
            super().line(line)

    # Greeting, encryption, login

    def greeted(self, name: str) -> None:
        self._envelope = None
        if name == "HELO":
            self._offered = frozenset()
        else:
            self._apply("ehlo", str(self._number), self._offer, f"250 {self._config.hostname}")

    def _offer(self, reply: str) -> None:
        keywords = list(self._keywords())
        self._offered = frozenset(keyword.split(" ")[0] for keyword in keywords)
        self.offer(reply[4:], keywords)

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

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._sink.tls_context() if "STARTTLS" in self._offered else None

    def encrypted(self) -> None:
        self._offered, self._envelope = frozenset(), None
        self._sink.received.encrypted += 1

    def _auth(self, argument: str) -> None:
        if not self._config.auth:
            self.write("502 5.5.1 Not offered")
        elif not self._may_log_in:
            self.refuse("auth", "538 5.7.11 Encryption is needed first")
        elif self._logged_in or self._envelope is not None:
            self.write("503 5.5.1 Not now")
        else:
            self._apply("auth", str(self._number), lambda _: self.start_exchange(argument), "235")

    def mechanism(self, name: str) -> Exchange | None:
        return self._sink.login.start(name)

    def exchanged(self, result: Any) -> None:
        self._logged_in = result
        if self._logged_in:
            self._sink.received.logins += 1
            self.write("235 2.7.0 Welcome")
        else:
            self.refuse("auth", "535 5.7.8 Login refused")
