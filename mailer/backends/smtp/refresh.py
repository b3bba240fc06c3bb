"""The refresh token of a grant, in the file that it came from.

Some issuers give another with every access token, and some forget the one before. The file is what all
processes share, so it is read again before each use, and a new token is written back into it.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)


class RefreshToken:
    """For one process; others may use and replace the same file. Shows in no ``repr``."""

    def __init__(self, file: str, token: str) -> None:
        self._file = file
        self._token = self._written = token  # used last, and seen last in the file
        self._warned = False

    def latest(self) -> str:
        """What another process wrote meanwhile; otherwise the last that this one got, written or not."""
        found = self._content().get("refresh_token")
        if isinstance(found, str) and found and found != self._written:
            self._token = self._written = found
        return self._token

    def replace(self, token: str) -> None:
        """Used from now on. Whole or not at all it gets into the file, which then has mode 0600.

        A file that belongs to somebody else stays as it is: with another owner others could not read it.
        Where it cannot be written that is said once, and this process goes on.
        """
        self._token = token
        try:
            self._write(token)
            self._written = token
        except OSError as error:
            if not self._warned:
                log.warning(
                    "%s: the issuer replaced the refresh token, and it cannot be written back (%s): "
                    "it is lost when this process ends",
                    self._file,
                    error.strerror,
                )
            self._warned = True

    def _write(self, token: str) -> None:
        target = Path(self._file).resolve()
        if target.stat().st_uid != os.geteuid():
            raise PermissionError(1, "the file belongs to another user")
        content = self._content()
        if content.get("refresh_token") != self._written:
            return  # another process was faster; what it wrote is read next time
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({**content, "refresh_token": token}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _content(self) -> dict[str, object]:
        try:
            content = json.loads(Path(self._file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
