"""Recipients: from a file to a stream of people and of rows that cannot be mailed.

Three stages, so that reading stays in one place while checking may run in many processes:

1. ``Reader.chunks()`` reads the file once, in order, in constant memory. Raises RecipientsError where
   the file cannot be read any further.
2. ``Reader.examiner`` turns one Chunk into one Examined. It is pure and picklable, and knows no other row.
3. ``Reader.sieve()`` knows all rows so far: it takes out excluded addresses and names duplicates. It must
   see the chunks in order.

Iterating over a Reader does all three here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mailer.address import Address

#: Rows per chunk: large enough that passing it to another process costs little per row.
CHUNK_ROWS = 1000
#: A chunk also ends here, so that long rows do not add up. Characters.
CHUNK_CHARS = 4_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What no honest file needs more of; in characters of decoded text."""

    cell: int = 1_000_000
    row: int = 4_000_000
    columns: int = 2_000


class Excluded(Protocol):
    """Addresses that get nothing, and do not stand in a file."""

    @property
    def identity(self) -> str: ...

    def keys(self) -> Iterator[str]:
        """As ``Address.key``."""
        ...


@dataclass(frozen=True, slots=True)
class RecipientSource:
    """What to read and how; plain arguments, nothing is opened yet.

    ``table`` stands in place of the file; ``path`` is then only what it is called.

    Columns are named by header or by identifier; ``email`` is also the address column, whatever its
    header. ``columns`` maps ``email``, ``name`` and ``language`` to headers. ``unique`` False or empty
    turns de-duplication off.
    """

    path: Path
    format: str | None = None  # csv, tsv, txt, jsonl, ndjson, xlsx; None: by suffix, else by content
    delimiter: str | None = None
    encoding: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)  # see mailer.content.celltypes
    required: Sequence[str] = ()
    unique: Sequence[str] | bool = ("email",)  # True is ("email",)
    where: str | None = None  # see the module where
    exclude: Sequence[Path | Excluded] = ()
    first_ordinal: int = 1  # of the first row; larger when rows are added to a campaign
    limits: Limits = Limits()
    table: NamedTable | None = None


#: One record as read: ordinal, line, cells, and what is wrong with it already.
RawRow = tuple[int, int, Sequence[str], str | None]


@dataclass(slots=True)
class Chunk:
    """Some records in file order, not yet looked at."""

    rows: list[RawRow]


@dataclass(slots=True)
class Recipient:
    """One valid row.

    ``ordinal`` counts all data rows of the file, so filters and invalid rows do not shift it.
    ``line`` is where the record starts. ``cells`` holds text by original header. ``key`` is what
    ``unique`` compares.
    """

    ordinal: int
    line: int
    address: Address
    name: str
    cells: dict[str, str]
    key: str

    def __reduce__(self) -> tuple[type[Recipient], tuple[object, ...]]:
        # Every row travels back from a prover; by itself a dataclass with slots takes three times as long.
        return Recipient, (self.ordinal, self.line, self.address, self.name, self.cells, self.key)


@dataclass(slots=True)
class Invalid:
    """One row that cannot be mailed, and why. ``cells`` are as they stood in the file."""

    ordinal: int
    line: int
    column: str | None
    reason: str
    cells: Sequence[str]


Entry = Recipient | Invalid


@dataclass(slots=True)
class Examined:
    """One chunk after examination; ``filtered`` rows did not match ``where``."""

    entries: list[Entry]
    filtered: int = 0


@dataclass(slots=True)
class Tally:
    """What a sieve has seen. Every row is counted once."""

    valid: int = 0
    invalid: int = 0
    filtered: int = 0
    excluded: int = 0

    @property
    def rows(self) -> int:
        return self.valid + self.invalid + self.filtered + self.excluded


class Table(Protocol):
    """One file format. ``rows`` may be called again and starts over each time.

    Yields (line, cells, problem) per data record, blank ones included, without the header. Raises
    RecipientsError where reading cannot go on.
    """

    @property
    def headers(self) -> Sequence[str]: ...

    @property
    def header_line(self) -> int: ...

    @property
    def described(self) -> str:
        """For people: ``CSV, semicolon, Windows-1252``."""
        ...

    def rows(self) -> Iterator[tuple[int, Sequence[str], str | None]]: ...


class NamedTable(Table, Protocol):
    """One that is no file; ``identity`` tells it from others."""

    @property
    def identity(self) -> str: ...
