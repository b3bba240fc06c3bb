"""Rows that passed the check, kept on disk until the campaign is opened, so they are parsed only once."""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from mailer.errors import LedgerError
from mailer.ledger.contract import NewRow

#: ordinal, line, address, lane, cells, files: the fields of NewRow.
PlainRow = tuple[int, int, str, str, str, str | None]

# Octets of the length before each batch: marshal reads a file in tiny steps, so it is given whole batches.
_LENGTH = 8


class Spool:
    """Written once, then read from the start as often as wanted. The file has no name and mode 0600.

    Raises LedgerError when the temporary folder is full.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(prefix="mailer-rows-", dir=folder, buffering=1 << 20)  # noqa: SIM115
        self.rows = 0

    def write(self, rows: Iterable[PlainRow]) -> None:
        batch = list(rows)
        data = marshal.dumps(batch)
        try:
            self._file.write(len(data).to_bytes(_LENGTH, "little"))
            self._file.write(data)
        except OSError as error:
            raise _full(error) from error
        self.rows += len(batch)

    def __iter__(self) -> Iterator[NewRow]:
        try:
            self._file.seek(0)  # writes what is still buffered
        except OSError as error:
            raise _full(error) from error
        while size := int.from_bytes(self._file.read(_LENGTH), "little"):
            for row in marshal.loads(self._file.read(size)):  # noqa: S302 - our own file, which has no name
                yield NewRow(*row)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _full(error: OSError) -> LedgerError:
    return LedgerError(f"the temporary folder cannot be written ({error.strerror}): free space or set TMPDIR")
