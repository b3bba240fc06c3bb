"""What only the whole list can tell: who is excluded, and who comes twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from types import TracebackType

from mailer.address import Address, AddressError
from mailer.campaigns.recipients.contract import (
    CHUNK_ROWS,
    Entry,
    Examined,
    Excluded,
    Invalid,
    Recipient,
    RecipientSource,
    Tally,
)
from mailer.campaigns.recipients.header import (
    Columns,
    address_in,
    find_address_column,
    refuse_bad_headers,
)
from mailer.campaigns.recipients.table import open_table
from mailer.errors import RecipientsError
from mailer.ledger.seen import SeenKeys

#: Given for the keys of the excluded files; a row of the list itself is entered as line 0.
_EXCLUDED = 1
_LISTED = 0


class Sieve:
    """Sees the examined chunks in file order, and lets each key through once. Use as a context manager.

    The first row with a key wins; filtered, excluded and invalid rows do not count as first.
    """

    def __init__(self, columns: Columns, unique: bool, exclude: Sequence[Path | Excluded]) -> None:
        self.tally = Tally()
        self._columns = columns
        self._stack = ExitStack()
        self._seen = self._stack.enter_context(SeenKeys()) if unique else None
        try:
            self._excluded = self._stack.enter_context(_excluded(exclude, columns)) if exclude else None
        except BaseException:
            self.close()
            raise

    def __call__(self, examined: Examined) -> list[Entry]:
        """The chunk without its excluded rows, and with its duplicates as invalid rows."""
        kept = self._without_excluded(examined.entries)
        entries = self._without_duplicates(kept)
        valid = sum(type(entry) is Recipient for entry in entries)
        self.tally.valid += valid
        self.tally.invalid += len(entries) - valid
        self.tally.filtered += examined.filtered
        self.tally.excluded += len(examined.entries) - len(kept)
        return entries

    def known(self, keys_with_lines: Iterable[tuple[str, int]]) -> None:
        """Enter keys that are taken already: those of the campaign that rows are added to."""
        if self._seen is not None:
            _enter(self._seen, keys_with_lines)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Sieve:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _without_excluded(self, entries: list[Entry]) -> list[Entry]:
        if self._excluded is None:
            return entries
        keys = [(entry.address.key, _LISTED) for entry in entries if isinstance(entry, Recipient)]
        found = iter(self._excluded.first_line(keys))
        return [entry for entry in entries if not (isinstance(entry, Recipient) and next(found))]

    def _without_duplicates(self, entries: list[Entry]) -> list[Entry]:
        if self._seen is None:
            return entries
        keys = [(entry.key, entry.line) for entry in entries if type(entry) is Recipient]
        found = self._seen.first_line(keys)
        if found.count(None) == len(found):
            return entries
        earlier = iter(found)
        return [self._judged(entry, earlier) if isinstance(entry, Recipient) else entry for entry in entries]

    def _judged(self, entry: Recipient, earlier: Iterator[int | None]) -> Entry:
        line = next(earlier)
        if line is None:
            return entry
        column = self._columns.headers[self._columns.email]
        return Invalid(
            entry.ordinal, entry.line, column, f"duplicate of line {line}", tuple(entry.cells.values())
        )


def _excluded(paths: Sequence[Path | Excluded], columns: Columns) -> SeenKeys:
    keys = chain.from_iterable(_keys(path, columns) for path in paths)
    excluded = SeenKeys()
    try:
        _enter(excluded, ((key, _EXCLUDED) for key in keys))
    except BaseException:
        excluded.close()
        raise
    return excluded


def _enter(seen: SeenKeys, keys_with_lines: Iterable[tuple[str, int]]) -> None:
    keys = iter(keys_with_lines)
    while batch := list(islice(keys, CHUNK_ROWS)):
        seen.first_line(batch)


def _keys(path: Path | Excluded, columns: Columns) -> Iterator[str]:
    """The addresses of another list. What is no address cannot be written to anyway, and is passed over.

    A plain list of addresses needs no header here: nothing but the addresses is read.
    """
    if not isinstance(path, Path):
        yield from path.keys()
        return
    table = open_table(RecipientSource(path))
    rows: Iterable[Sequence[str]] = (cells for _, cells, _ in table.rows())
    index = address_in(table.headers)
    if index is None:
        index = _address_column(table.headers, columns, str(path))
    else:
        rows = chain([table.headers], rows)
    for cells in rows:
        if len(cells) > index:
            try:
                yield Address.parse(cells[index]).key
            except AddressError:
                continue


def _address_column(headers: Sequence[str], columns: Columns, file: str) -> int:
    """By its usual name, else by the name it has in the list itself."""
    try:
        refuse_bad_headers(headers, file, None)
        return find_address_column(headers, file, None)
    except RecipientsError:
        own = columns.headers[columns.email]
        if own in headers:
            return headers.index(own)
        raise
