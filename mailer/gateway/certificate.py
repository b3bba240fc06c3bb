"""The certificate: read at the start, and again when it was renewed."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from pathlib import Path

from mailer.errors import ConfigError

log = logging.getLogger(__name__)


class Certificate:
    """``context`` is for all connections; what is renewed holds for those that come."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Two PEM files. Raises ConfigError."""
        self._files = (chain, key)
        self._stamp = self._looked_at()
        try:
            self.context = self._current = self._read()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"gateway.certificate: {chain} cannot be used: {error}") from error
        # Called for every handshake, with or without a server name in it.
        self.context.sni_callback = self._show

    def renew(self) -> None:
        """Read the files when they have changed."""
        stamp = self._looked_at()
        if stamp == self._stamp:
            return
        try:
            # A context that was given half a file would be of no use any more: so it is a new one.
            self._current = self._read()
        except OSError as error:
            log.warning("the renewed certificate cannot be used: %s", error)
        else:
            self._stamp = stamp
            log.info("the renewed certificate is in use")

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        return context

    def _show(self, connection: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current

    def _looked_at(self) -> tuple[int, ...]:
        with suppress(OSError):
            return tuple(file.stat().st_mtime_ns for file in self._files)
        return ()
