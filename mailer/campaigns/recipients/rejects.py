"""``<campaign>.invalid.csv``: the rows that cannot be mailed, ready to be corrected and added."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from mailer.campaigns.recipients.contract import Invalid
from mailer.campaigns.recipients.header import REPORT_HEADERS
from mailer.errors import RecipientsError


class InvalidWriter:
    """Writes UTF-8 CSV: line, column, reason, then the row's own cells under their own headers.

    The cells are exactly those of the input, formulas included, because corrected rows go back in; reading
    the file as recipients passes over the first three columns. The file appears, with mode 0600, when
    ``commit`` is called or the ``with`` block ends without an error; until then an earlier one stays.
    Without a single row there is no file, and an earlier one goes.
    """

    def __init__(self, path: Path, headers: Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
        except OSError as error:
            raise self._failed(error) from error
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\r\n")  # RFC 4180; quotes CR and LF in cells
        self._write((*REPORT_HEADERS, *headers))

    def write(self, row: Invalid) -> None:
        self._write((str(row.line), row.column or "", row.reason, *row.cells))
        self.rows += 1

    def commit(self) -> None:
        """Replaces an earlier file at once."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if self.rows:
                self._temporary.replace(self.path)
            else:
                self.discard()
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Leaves an earlier file as it was. May be called twice, and after ``commit``."""
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

    def _write(self, cells: Sequence[str]) -> None:
        try:
            self._csv.writerow(cells)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RecipientsError:
        return RecipientsError(f"invalid rows cannot be written: {error.strerror}", str(self.path))
