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
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self.context.load_cert_chain(chain, key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"gateway.certificate: {chain} cannot be used: {error}") from error

    def renew(self) -> None:
        """Read the files when they have changed."""
        stamp = self._looked_at()
        if stamp == self._stamp:
            return
        try:
            self.context.load_cert_chain(*self._files)
        except OSError as error:  # half of it is written; the old one is still in use
            log.warning("the renewed certificate cannot be used: %s", error)
        else:
            self._stamp = stamp
            log.info("the renewed certificate is in use")

    def _looked_at(self) -> tuple[int, ...]:
        with suppress(OSError):
            return tuple(file.stat().st_mtime_ns for file in self._files)
        return ()
