"""CSV in its many dialects."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

from mailer.campaigns.recipients import dialect, encodings
from mailer.campaigns.recipients.contract import Limits
from mailer.errors import RecipientsError

_NUL_HINT = 'Remove it. Or, if the whole file is UTF-16, say so: encoding = "utf-16-le".'
_ALIASES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|"}


class DelimitedTable:
    """A text file of cells between delimiters. Quotes follow RFC 4180, strictly: a quote that is not
    closed, or is closed inside a cell, stops the reading, because nobody knows where that row ends."""

    def __init__(self, path: Path, delimiter: str | None, encoding: str | None, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._encoding = encodings.detect(path, encoding)
        self._delimiter, self._skipped = self._choose(delimiter)
        self.headers, self.header_line = self._header()

    @property
    def described(self) -> str:
        return f"CSV, {dialect.spoken(self._delimiter)}, {encodings.spoken(self._encoding)}"

    def rows(self) -> Iterator[tuple[int, Sequence[str], str | None]]:
        records = self._records()
        for line, _, _ in records:
            if line == self.header_line:
                break
        yield from records

    def _header(self) -> tuple[tuple[str, ...], int]:
        for line, cells, _ in self._records():
            headers = tuple(cell.strip() for cell in cells)
            if any(headers):
                if len(headers) > self._limits.columns:
                    raise RecipientsError(
                        f"there are {len(headers)} columns, more than {self._limits.columns}",
                        str(self._path),
                        line,
                    )
                return headers, line
        raise RecipientsError("the file is empty", str(self._path))

    def _choose(self, declared: str | None) -> tuple[str, int]:
        """The delimiter, and how many lines stand before the header for Excel's sake."""
        with self._open() as file, self._decoding():
            first = file.readline(10)
            sample = first + file.read(dialect.SAMPLE_CHARS)
            whole = not file.read(1)
        hinted = dialect.excel_hint(first)
        chosen = _declared(declared, self._path) or hinted
        return chosen or dialect.detect(sample, whole), int(hinted is not None)

    def _open(self) -> TextIO:
        return self._path.open(encoding=self._encoding, newline="")

    def _decoding(self) -> _Decoding:
        return _Decoding(self._path, self._encoding)

    def _records(self) -> Iterator[tuple[int, Sequence[str], str | None]]:
        """Every record with the line it starts on."""
        csv.field_size_limit(max(csv.field_size_limit(), self._limits.row))
        with self._open() as file, self._decoding():
            feed = _Feed(file, self._limits)
            lines = iter(feed)
            for _ in islice(lines, self._skipped):
                pass
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            start = self._skipped + 1
            try:
                for cells in reader:
                    if feed.record > self._limits.cell:
                        self._refuse_long_cell(cells, start)
                    yield start, cells, None
                    start = feed.line + 1
                    feed.record = 0
            except csv.Error:
                raise self._broken_quote(start) from None
            except _Stop as stop:
                raise self._stopped(stop, start, feed) from None

    def _stopped(self, stop: _Stop, start: int, feed: _Feed) -> RecipientsError:
        if stop.reason is not None:
            return RecipientsError(stop.reason, str(self._path), feed.line, hint=stop.hint)
        if feed.line > start:
            return self._broken_quote(start)
        return self._too_long("row", self._limits.row, start)

    def _refuse_long_cell(self, cells: Sequence[str], line: int) -> None:
        if max(map(len, cells), default=0) > self._limits.cell:
            raise self._too_long("cell", self._limits.cell, line)

    def _too_long(self, what: str, limit: int, line: int) -> RecipientsError:
        return RecipientsError(f"this {what} is longer than {limit} characters", str(self._path), line)

    def _broken_quote(self, start: int) -> RecipientsError:
        with self._open() as file:
            lines = islice(iter(lambda: file.readline(self._limits.row), ""), start - 1, None)
            line = _quote_at_fault(lines, self._delimiter, start, 2 * self._limits.row)
        if line is None:
            return self._too_long("row", self._limits.row, start)
        return RecipientsError(
            "a quote opens here and is not closed at the end of its cell",
            str(self._path),
            line,
            hint='Close it, or double it ("") when it belongs to the text.',
        )


class _Stop(Exception):
    """Carries a reason through the csv module, and never further."""

    def __init__(self, reason: str | None = None, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class _Feed:
    """Lines for the csv module, counted, with a bound on what one record may swallow."""

    def __init__(self, file: TextIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self.line = 0
        self.record = 0

    def __iter__(self) -> Iterator[str]:
        readline = self._file.readline
        most = self._limits.row
        while text := readline(most + 1):
            self.line += 1
            self.record += len(text)
            if self.record > most:
                raise _Stop
            if "\0" in text:
                raise _Stop("there is a NUL byte here", _NUL_HINT)
            yield text


class _Decoding:
    """Says where the byte is that cannot be decoded."""

    def __init__(self, path: Path, codec: str) -> None:
        self._path = path
        self._codec = codec

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeError):
            raise encodings.undecodable(self._path, self._codec) from None


def _declared(delimiter: str | None, path: Path) -> str | None:
    if delimiter is None:
        return None
    delimiter = _ALIASES.get(delimiter.lower(), delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n\0 ':
        raise RecipientsError(
            f"delimiter {delimiter!r} is not one character between cells",
            str(path),
            hint='Use "," ";" "|" or "tab".',
        )
    return delimiter


def _quote_at_fault(lines: Iterator[str], delimiter: str, line: int, most: int) -> int | None:
    """The line where the first cell opens whose quote is not closed before a delimiter or line end."""
    scan = _QuoteScan(delimiter)
    for text in lines:
        if scan.breaks(text, line):
            return scan.opened
        line += 1
        most -= len(text)
        if not scan.inside or most < 0:
            break
    return scan.opened if scan.inside else None


class _QuoteScan:
    """Follows quotes through the lines of one record, slowly, after the csv module has given up."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self.inside = False
        self.opened = 0

    def breaks(self, text: str, line: int) -> bool:
        at, fresh = 0, not self.inside
        while at < len(text):
            if self.inside:
                at, fresh = self._close(text, at)
                if not self.inside and not fresh:
                    return True
            elif fresh and text[at] == '"':
                self.inside, self.opened, at = True, line, at + 1
            else:
                found = text.find(self._delimiter, at)
                at, fresh = (found + 1, True) if found >= 0 else (len(text), False)
        return False

    def _close(self, text: str, at: int) -> tuple[int, bool]:
        """Where to go on, and whether what follows a closed quote is the end of the cell."""
        found = text.find('"', at)
        if found < 0:
            return len(text), False
        if text.startswith('""', found):
            return found + 2, False
        self.inside = False
        after = text[found + 1 : found + 2]
        return found + 1 + (after == self._delimiter), after in {"", "\r", "\n", self._delimiter}
