"""Opens a list of recipients and puts its three stages together."""

from __future__ import annotations

from collections.abc import Iterator

from mailer.campaigns.recipients.contract import (
    CHUNK_CHARS,
    CHUNK_ROWS,
    Chunk,
    Entry,
    RawRow,
    RecipientSource,
    Table,
    Tally,
)
from mailer.campaigns.recipients.header import REPORT_HEADERS, understand
from mailer.campaigns.recipients.rows import Examiner
from mailer.campaigns.recipients.sieve import Sieve
from mailer.campaigns.recipients.table import open_table
from mailer.campaigns.recipients.where import Where
from mailer.content.celltypes import validate_type
from mailer.errors import RecipientsError


def open_source(source: RecipientSource) -> Reader:
    """Reads the header and checks that every column named in ``source`` exists. Raises RecipientsError."""
    return Reader(source, source.table or open_table(source))


class Reader:
    """A list of recipients; see the contract for its stages. May be iterated again, from the start.

    ``tally`` is that of the latest iteration; ``corrected`` says that this is a file of invalid rows.
    """

    def __init__(self, source: RecipientSource, table: Table) -> None:
        self._source = source
        self._table = table
        # A report of invalid rows comes back corrected: what we wrote in front of each row is passed over.
        self.corrected = tuple(table.headers[:3]) == REPORT_HEADERS and len(table.headers) > 3
        self._skipped = len(REPORT_HEADERS) if self.corrected else 0
        headers = table.headers[self._skipped :]
        self.columns = understand(headers, source.columns, str(source.path), table.header_line)
        self.described = table.described
        self.tally = Tally()
        self.unique = _unique(source)
        self.examiner = self._examiner()

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """The whole file, in chunks of at most ``rows`` rows. Raises RecipientsError, also for a file
        without any row."""
        batch: list[RawRow] = []
        room = CHUNK_CHARS
        empty = True
        for row in self._numbered():
            batch.append(row)
            room -= sum(map(len, row[2]))
            if len(batch) == rows or room < 0:
                yield Chunk(batch)
                batch, room, empty = [], CHUNK_CHARS, False
        if batch:
            yield Chunk(batch)
        elif empty:
            raise RecipientsError(
                "there are no recipients below the header", str(self._source.path), self._table.header_line
            )

    def sieve(self) -> Sieve:
        """A new one for each pass over the file. Reads the excluded lists."""
        return Sieve(self.columns, bool(self.unique), self._source.exclude)

    def __iter__(self) -> Iterator[Entry]:
        with self.sieve() as sieve:
            self.tally = sieve.tally
            for chunk in self.chunks():
                yield from sieve(self.examiner(chunk))

    def _numbered(self) -> Iterator[RawRow]:
        """Every row with its ordinal; blank rows are held back, and those at the end of the file dropped."""
        skipped = self._skipped
        held = _Held()
        ordinal = self._source.first_ordinal
        for line, cells, problem in self._table.rows():
            if skipped:
                cells = cells[skipped:]  # noqa: PLW2901 - the row without what the report put before it
            if problem is None and not any(map(str.strip, cells)):
                held.add(line, len(cells))
                continue
            if held:
                for blank_line, width in held.release():
                    yield ordinal, blank_line, ("",) * width, None
                    ordinal += 1
            yield ordinal, line, cells, problem
            ordinal += 1

    def _examiner(self) -> Examiner:
        source = self._source
        types = tuple(
            (self._index("types", name), _checked(type_name)) for name, type_name in source.types.items()
        )
        where = (source.where or "").strip() and Where(source.where or "", self.columns, dict(types))
        return Examiner(
            self.columns,
            required=tuple(self._index("required", name) for name in source.required),
            types=types,
            unique=tuple(self._index("unique", name) for name in self.unique if self.unique != ("email",)),
            where=where or None,
        )

    def _index(self, key: str, name: str) -> int:
        try:
            return self.columns.index(name)
        except RecipientsError as error:
            raise RecipientsError(
                f"{key}: {error.message}", str(self._source.path), hint=error.hint
            ) from None


class _Held:
    """Blank rows whose fate is open, as runs: a file may end in millions of them."""

    def __init__(self) -> None:
        self._runs: list[list[int]] = []  # first line, how many, how many cells each

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, line: int, width: int) -> None:
        if self._runs:
            first, count, cells = self._runs[-1]
            if line == first + count and width == cells:
                self._runs[-1][1] += 1
                return
        self._runs.append([line, 1, width])

    def release(self) -> Iterator[tuple[int, int]]:
        runs, self._runs = self._runs, []
        for first, count, width in runs:
            for line in range(first, first + count):
                yield line, width


def _unique(source: RecipientSource) -> tuple[str, ...]:
    if isinstance(source.unique, bool):
        return ("email",) if source.unique else ()
    return tuple(source.unique)


def _checked(type_name: str) -> str:
    try:
        validate_type(type_name)
    except ValueError as error:
        raise RecipientsError(f"types: {error}") from None
    return type_name
