"""The sink itself: listens, counts, and keeps what it is told to keep."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from mailer.errors import ConfigError
from mailer.sink.auth import Login
from mailer.sink.config import SinkConfig
from mailer.sink.envelope import Envelope
from mailer.sink.received import Received
from mailer.sink.rules import Rulebook
from mailer.sink.session import Session
from mailer.sink.store import Store, Taken


class Sink:
    """An SMTP server that delivers nothing. Belongs to the event loop that starts it.

    ``received`` counts from the start on. ``on_message`` is called for each message taken, after it was
    stored and before it is answered. Usable as ``async with Sink(config) as sink``.
    """

    def __init__(self, config: SinkConfig, *, on_message: Callable[[Taken], None] | None = None) -> None:
        self.config = config
        self.port = config.port  # the real one once started
        self.received = Received()
        self.rules = Rulebook(config.rules, config.seed)
        self.login = Login(config.user, config.password)
        self._on_message = on_message
        self._store: Store | None = None
        self._context: ssl.SSLContext | None = None
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address, the folder or the certificate cannot be used."""
        config = self.config
        try:
            self._store = Store(config.store) if config.store else None
        except OSError as error:
            raise ConfigError(f"{config.store}: {error.strerror}") from error
        if not 0 <= config.port <= 65535:  # uvloop would take what remains of it modulo 65536
            raise ConfigError(f"port {config.port}: a port is a number from 0 to 65535")
        context = self.tls_context() if config.tls else None
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Session(self), config.host, config.port, ssl=context, backlog=1024
            )
        except OSError as error:
            await self.stop()
            reason = os.strerror(error.errno) if error.errno else str(error)  # strerror is asyncio's own here
            raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and the store. May be called twice."""
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.transport.abort()
        await self._all_gone.wait()
        if self._store is not None:
            self._store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def opened(self, session: Session) -> int:
        """A new connection; its number, from 1."""
        self._sessions.add(session)
        self._all_gone.clear()
        self.received.connections += 1
        self.received.open = len(self._sessions)
        return self.received.connections

    def closed(self, session: Session) -> None:
        self._sessions.discard(session)
        self.received.open = len(self._sessions)
        if not self._sessions:
            self._all_gone.set()

    def take(self, envelope: Envelope, data: bytes, connection: int) -> None:
        """Keep and count one message. Raises OSError when it cannot be kept: then it was not taken."""
        if self._store is not None or self._on_message is not None:
            self._keep(
                Taken(
                    envelope.sender,
                    tuple(envelope.recipients),
                    data,
                    envelope.options,
                    tuple(envelope.rcpt_options),
                    connection,
                )
            )
        self.received.messages += 1
        self.received.recipients += len(envelope.recipients)
        self.received.octets += len(data)

    def _keep(self, taken: Taken) -> None:
        if self._store is not None:
            self._store.add(taken)
        if self._on_message is not None:
            self._on_message(taken)

    def tls_context(self) -> ssl.SSLContext:
        """With the given certificate, or one made for this run. Raises ConfigError."""
        if self._context is None:
            self._context = self._make_context()
        return self._context

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.config.certificate is not None and self.config.key is not None:
            return _loaded(context, self.config.certificate, self.config.key)
        from mailer.sink.certificate import self_signed  # slow to import, and an extra

        with tempfile.TemporaryDirectory() as folder:
            names = ("localhost", "127.0.0.1", "::1", self.config.hostname)
            made = self_signed(Path(folder), names)
            return _loaded(context, made.cert, made.key)


def _loaded(context: ssl.SSLContext, cert: Path, key: Path) -> ssl.SSLContext:
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{cert}: cannot be used as a certificate: {error}") from error
    return context
