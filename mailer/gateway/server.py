"""The gateway itself: listens, lets in, and stores."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress

from mailer.errors import ConfigError, IdempotencyConflict, LedgerError
from mailer.gateway.admission import FailedLogins, Guest, Meter, logged_in, without_login
from mailer.gateway.certificate import Certificate
from mailer.gateway.commits import NOT_NOW, Commits
from mailer.gateway.config import GatewayConfig
from mailer.gateway.message import Handed, finished
from mailer.gateway.session import Session
from mailer.gateway.transaction import NO_ENTRY, SHUTTING_DOWN
from mailer.ledger.ledger import Ledger
from mailer.outbox.contract import Receipt
from mailer.outbox.intake import Finished, Intake
from mailer.sink.envelope import Refusal
from mailer.sink.wire import GOODBYE_SECONDS

log = logging.getLogger(__name__)

#: How often connections are looked at that say nothing, and the certificate for whether it was renewed.
LOOK_SECONDS = 5.0


class Gateway:
    """An SMTP submission server over a ledger. Belongs to the event loop that starts it."""

    def __init__(
        self, config: GatewayConfig, certificate: Certificate | None, ledger: Ledger, intake: Intake
    ) -> None:
        self.config = config
        self.meter = Meter()
        self.failed_logins = FailedLogins(config.max_failures, config.failure_window)
        self.tls = None if certificate is None else certificate.context
        self.ports: list[int] = []
        self._certificate = certificate
        self._ledger = ledger
        self._intake = intake
        self._commits = Commits(self._stored)
        self._sessions: set[Session] = set()
        self._servers: list[asyncio.Server] = []
        self._looking: asyncio.Task[None] | None = None
        self._closing = False
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    async def start(self) -> None:
        """Listen; ``ports`` has the real ones then. Raises ConfigError."""
        try:
            await self._listen(self.config.port, encrypted=False)
            await self._listen(self.config.tls_port, encrypted=True)
        except BaseException:
            await self.stop(0.0)
            raise
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop(self, seconds: float) -> None:
        """Take no more; finish what is being stored, and what is being received within so long."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            if not session.busy:
                session.give_notice(SHUTTING_DOWN)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_gone.wait(), seconds)
        await self._commits.close()
        await asyncio.sleep(0)  # the answers to what was stored are written now
        for session in list(self._sessions):
            session.transport.close()

    # What sessions ask.

    def opened(self, session: Session) -> str | None:
        """Why it may not stay; None: it may."""
        self._sessions.add(session)
        self._all_gone.clear()
        if self._closing:
            return SHUTTING_DOWN
        if len(self._sessions) > self.config.max_connections:
            return "421 4.3.2 Too many connections, come back later"
        return None

    def closed(self, session: Session) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._all_gone.set()

    @property
    def closing(self) -> bool:
        return self._closing

    def without_login(self, peer: str) -> Guest | None:
        return without_login(self.config, peer)

    async def log_in(self, user: str, password: str) -> Guest | str:
        """The guest, or the reply that refuses."""
        try:
            guest = await asyncio.to_thread(logged_in, self._ledger, self.config, user, password)
        except LedgerError as error:
            log.error("no login can be looked up: %s", error)
            return "454 4.7.0 Nobody can log in now, try again"
        return NO_ENTRY if guest is None else guest

    def store(self, handed: Handed) -> asyncio.Future[str]:
        """The reply to the final dot, when it is true."""
        self.meter.count(handed.guest, len(handed.recipients))
        return self._commits.add(handed)

    # On a thread.

    def _stored(self, handed: Sequence[Handed]) -> list[str]:
        read = [_read(one) for one in handed]
        ready = [one for one in read if isinstance(one, Finished)]
        answers = iter(self._intake.put(ready))
        return [one if isinstance(one, str) else _reply(one, next(answers)) for one in read]

    # While it runs.

    async def _listen(self, port: int | None, *, encrypted: bool) -> None:
        if port is None:
            return
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: Session(self, encrypted=encrypted),
                self.config.host,
                port,
                ssl=self.tls if encrypted else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if encrypted else None,
                backlog=1024,
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)  # strerror is asyncio's own here
            raise ConfigError(f"cannot listen on {self.config.host}:{port}: {reason}") from error
        self._servers.append(server)
        self.ports.append(server.sockets[0].getsockname()[1])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            for session in list(self._sessions):
                stranger = session.guest is None and now - session.since > self.config.login_seconds
                if stranger or now - session.heard_at > self.config.idle_seconds:
                    session.give_notice("421 4.4.2 That takes too long")
            if self._certificate is not None:
                self._certificate.renew()


def _read(handed: Handed) -> Finished | str:
    try:
        return finished(handed)
    except Refusal as refusal:
        return str(refusal)


def _reply(message: Finished, answer: list[Receipt] | Exception) -> str:
    if isinstance(answer, list):
        if any(receipt.created for receipt in answer):
            log.info("stored %s: %d recipients of %s", answer[0].id, len(answer), message.client)
        return f"250 2.0.0 Ok: queued as {answer[0].id}"
    if isinstance(answer, IdempotencyConflict):
        return "554 5.6.0 X-Mailer-Idempotency-Key was used for another message"
    log.error("a message could not be stored: %s", answer)
    return NOT_NOW
