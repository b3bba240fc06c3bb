"""``<campaign>.invalid.csv``: the rows that cannot be mailed, ready to be corrected and added."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mailer.campaigns.recipients.contract import Invalid
from mailer.campaigns.recipients.header import REPORT_HEADERS
from mailer.errors import RecipientsError


class InvalidWriter:
    """Writes UTF-8 CSV: line, column, reason, then the row's own cells under their own headers.

    The cells are exactly those of the input, formulas included, because corrected rows go back in; reading
    the file as recipients passes over the first three columns. The file appears, with mode 0600, when
    ``commit`` is called or the ``with`` block ends without an error; until then an earlier one stays.
    Without a single row there is no file, and an earlier one goes: a campaign without mistakes can lie in a
    folder that cannot be written to.
    """

    def __init__(self, path: Path, headers: Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        self._headers = headers
        self._temporary: Path | None = None
        self._file: IO[str] | None = None
        self._lines: Any = None  # csv.writer is no type

    def write(self, row: Invalid) -> None:
        try:
            lines = self._lines or self._begin()
            lines.writerow((str(row.line), row.column or "", row.reason, *row.cells))
        except OSError as error:
            raise self._failed(error) from error
        self.rows += 1

    def commit(self) -> None:
        """Replaces an earlier file at once."""
        try:
            if self._file and self._temporary:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._temporary.replace(self.path)
            elif self.path.exists():
                self.path.unlink()
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Leaves an earlier file as it was. May be called twice, and after ``commit``."""
        if self._file and self._temporary:
            with suppress(OSError):  # a full disk, which has been told: what is buffered is not missed
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> InvalidWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.commit()
        finally:
            self.discard()

    def _begin(self) -> Any:
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)  # mode 0600
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "w", encoding="utf-8", newline="")
        self._lines = csv.writer(self._file, lineterminator="\r\n")  # RFC 4180; quotes CR and LF in cells
        self._lines.writerow((*REPORT_HEADERS, *self._headers))
        return self._lines

    def _failed(self, error: OSError) -> RecipientsError:
        return RecipientsError(f"invalid rows cannot be written: {error.strerror}", str(self.path))
