"""SMTP: to a relay or a mail server, over pooled and pipelined connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from mailer.backends.contract import BackendConfig, BackendLimits, Use
from mailer.backends.marks import relayed
from mailer.backends.share import Share
from mailer.backends.smtp.connect import open_session
from mailer.backends.smtp.jobs import Batch
from mailer.backends.smtp.options import Options
from mailer.backends.smtp.pool import Pool
from mailer.backends.smtp.session import Session
from mailer.errors import BackendUnusable
from mailer.message import Mark, Outcome, Outgoing


def connect(config: BackendConfig) -> SmtpBackend:
    """``smtp://`` and ``smtps://``; the options are in docs/reference/smtp.md. Raises ConfigError.

    Nothing is opened before the first ``send``.
    """
    return SmtpBackend(Options.parse(config))


class SmtpBackend:
    """Implements ``Backend`` and ``SharesConnections`` of ``mailer.backends.contract``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._context: ssl.SSLContext | None = None
        self._pool: Pool | None = None
        self._share = Share(options.connections)
        self._closed = False

    @property
    def limits(self) -> BackendLimits:
        return BackendLimits(
            batch=1000, concurrency=max(8, self._options.connections), size=self._options.size
        )

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> Sequence[Outcome]:
        if self._closed:
            raise BackendUnusable(self._options.name, "it was closed")
        if not batch:
            return []
        if self._pool is None:
            self._pool = Pool(self._options, self._open, self._share)
        if (relay := self._options.marks) != "none":
            batch = [relayed(relay, message) for message in batch]
        work = Batch(batch, mark)
        self._pool.put(work.jobs)
        try:
            await work.done
        finally:
            work.abandoned = True
        return work.outcomes()

    def share(self, wake: Callable[[], None], /) -> None:
        self._share.begin(wake)

    def demand(self) -> Use:
        return Use() if self._pool is None else self._pool.demand()

    def allow(self, most: int, /) -> None:
        self._share.grant(most)
        if self._pool is not None:
            self._pool.allowed()

    async def probe(self) -> str:
        opened = await open_session(self._options, await self._tls())
        await opened.session.quit()
        server = opened.greeting.partition("\n")[0][:100] or "no name"
        login = f"logged in by {opened.mechanism.upper()}" if opened.mechanism else "no login"
        return f"{self._options.host}:{self._options.port} {server}; {opened.tls or 'no TLS'}; {login}"

    async def close(self) -> None:
        """What is under way may take as long as its final dot may."""
        self._closed = True
        if self._pool is not None:
            await self._pool.close(self._options.timeouts.dot)

    async def _open(self) -> Session:
        return (await open_session(self._options, await self._tls())).session

    async def _tls(self) -> ssl.SSLContext | None:
        """Made once, off the loop: reading the system's certificates takes tens of milliseconds."""
        if self._context is None and (self._options.implicit_tls or self._options.tls != "none"):
            self._context = await asyncio.to_thread(self._options.tls_context)
        return self._context
