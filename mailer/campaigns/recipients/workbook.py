"""Excel workbooks: the first sheet, read row by row. Needs the extra ``xlsx``."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from mailer.campaigns.recipients.contract import Limits
from mailer.errors import RecipientsError

#: A workbook unpacks in memory in part (its shared strings): refuse what would unpack to more than this.
_MAX_UNPACKED = 2_000_000_000
_MAX_STRINGS = 300_000_000
_ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})


class WorkbookTable:
    """Dates as ISO text, whole numbers without ``.0``, formulas by the value Excel last computed.

    A formula that was never computed is an empty cell; a cell with an Excel error makes its row invalid.
    """

    described = "Excel workbook"

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self.headers, self.header_line = self._header()

    def rows(self) -> Iterator[tuple[int, Sequence[str], str | None]]:
        width = len(self.headers)
        for line, values in self._values():
            if line > self.header_line:
                cells = [_text(value) for value in values]
                while len(cells) > width and not cells[-1]:
                    cells.pop()
                cells.extend([""] * (width - len(cells)))
                yield line, cells, self._problem(cells, line)

    def _problem(self, cells: Sequence[str], line: int) -> str | None:
        if max(map(len, cells), default=0) > self._limits.cell:
            raise RecipientsError(
                f"a cell is longer than {self._limits.cell} characters", str(self._path), line
            )
        error = next((cell for cell in cells if cell in _ERRORS), None)
        return f"a cell holds the Excel error {error}" if error else None

    def _header(self) -> tuple[tuple[str, ...], int]:
        for line, values in self._values():
            headers = [_text(value).strip() for value in values]
            while headers and not headers[-1]:
                headers.pop()
            if len(headers) > self._limits.columns:
                raise RecipientsError(f"there are more than {self._limits.columns} columns", str(self._path))
            if headers:
                return tuple(headers), line
        raise RecipientsError("the first sheet is empty", str(self._path))

    def _values(self) -> Iterator[tuple[int, Sequence[Any]]]:
        with self._sheet() as sheet:
            rows = sheet.iter_rows(values_only=True)
            line = 0
            while True:
                with self._translated():
                    values = next(rows, None)
                if values is None:
                    return
                line += 1
                yield line, values

    @contextmanager
    def _sheet(self) -> Iterator[Any]:
        try:
            from openpyxl import load_workbook
        except ModuleNotFoundError:
            raise RecipientsError(
                "reading .xlsx needs openpyxl", str(self._path), hint='pip install "mailer-worker[xlsx]"'
            ) from None
        # A file, not a path: openpyxl judges a path by its suffix.
        with self._path.open("rb") as file:
            with self._translated():
                self._refuse_bomb()
                book = load_workbook(file, read_only=True, data_only=True)
                if not book.worksheets:
                    raise RecipientsError("the workbook has no sheet", str(self._path))
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # some programs write wrong ones
            try:
                yield sheet
            finally:
                book.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about styles and validations, which do not matter here
                yield
        except RecipientsError:
            raise
        except Exception as error:  # openpyxl raises whatever a damaged file leads it to
            raise RecipientsError(
                "this workbook is damaged",
                str(self._path),
                hint="Open it in Excel and save it again, or save it as CSV.",
            ) from error

    def _refuse_bomb(self) -> None:
        with zipfile.ZipFile(self._path) as archive:
            parts = archive.infolist()
        strings = sum(part.file_size for part in parts if part.filename.endswith("sharedStrings.xml"))
        if strings > _MAX_STRINGS or sum(part.file_size for part in parts) > _MAX_UNPACKED:
            raise RecipientsError(
                "this workbook unpacks to more than can be read safely",
                str(self._path),
                hint="Save it as CSV.",
            )


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value)
