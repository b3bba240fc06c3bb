"""One connection: who it is from, what it is offered, and who logs in (RFC 5321, 3207, 4954)."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from mailer.gateway.admission import Guest
from mailer.gateway.auth import MECHANISMS
from mailer.gateway.transaction import NO_ENTRY, Transaction
from mailer.sink.dialogue import Exchange

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
        self._commands |= {
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"RSET": self._rset,
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

    # Greeting and encryption

    def greeted(self, name: str) -> None:
        self._forget()
        if name == "EHLO":
            self.offer(self._config.hostname, self._keywords())

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._gateway.tls if self._may_encrypt else None

    def encrypted(self) -> None:
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
            self.start_exchange(argument)

    def mechanism(self, name: str) -> Exchange | None:
        start = MECHANISMS.get(name)
        return None if start is None else start()

    def exchanged(self, result: Any) -> None:
        self._login = result or ("", "")
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
