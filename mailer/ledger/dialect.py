"""What a database has to bring. The statements are shared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Engine

from mailer.ledger.statements import RowUpdate


class Room(IntEnum):
    """What can be locked by number; "mail", and one more for each."""

    MIGRATION = 0x6D61696C  # number 0
    OPENING = 0x6D61696D  # number 0
    STEERING = 0x6D61696E  # number 0: shared by who changes a campaign, alone for who changes a backend
    CAMPAIGN = 0x6D61696F  # by its id
    BUCKET = 0x6D616970  # by a hash of its key
    WRITER = 0x6D616971  # one per process that writes
    RUN = 0x6D616972  # a campaign that a command runs, by its id


class Began(NamedTuple):
    """A transaction's beginning: the database's time, and what tells later whether it was committed."""

    now: float
    witness: int = 0


class Dialect(Protocol):
    """One database. Safe for threads. ``translated`` is the seam at which the driver's exceptions become
    LedgerError and LedgerBusy; nothing else raises those of the driver past it."""

    name: str
    #: Rows of the tally per campaign and state; a process that writes uses one of them.
    slots: int
    #: Seconds for which a database that has answered before is waited for when it has gone.
    patience: float

    @property
    def file(self) -> Path | None:
        """Where it lies, if it is a file: its processes then lock files beside it instead of ``hold``."""

    def exists(self) -> bool: ...

    def create(self) -> None:
        """What the writer's connection has to find, made if it is not there."""

    def readers(self) -> Engine:
        """For any number of connections, which cannot write and see one moment each."""

    def writer(self) -> Engine:
        """For one connection, used by whoever has the turn, who says when a transaction begins and ends."""

    def slot(self) -> int:
        """Which of the rows of a tally this process adds to."""

    def turn(self) -> AbstractContextManager[None]:
        """The right to write, for one thread. Raises LedgerBusy when it does not come."""

    def begin(self, cursor: Any, share: Sequence[int]) -> Began:
        """The campaigns ``share``, sorted, are locked as ``lock`` would."""

    def gathering(self, cursor: Any) -> Any:
        """In place of the cursor, when until ``commit`` nothing is read and no row is written twice."""

    def commit(self, cursor: Any, began: Began) -> None:
        """Returns when the transaction is durable, and raises when it is not."""

    def tidy(self, driver: Any) -> bool:
        """Roll back what is left open. False: the connection is broken."""

    def lost(self, error: BaseException) -> bool:
        """The server is away, or was: the same again may succeed."""

    def now(self, connection: Connection) -> float: ...

    def prepare(self, cursor: Any) -> None:
        """Before the first migration."""

    def array(self, values: Collection[Any]) -> Any:
        """A parameter for ``statements.one_of``."""

    def insert_new(
        self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """Insert the rows whose key is new; how many those were."""

    def load(
        self,
        cursor: Any,
        table: str,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        meanwhile: Callable[[], None],
    ) -> int:
        """As ``insert_new`` and faster, for thousands of rows with an ``id`` as their first column, when
        nobody else inserts rows of these ids. ``meanwhile`` is called, if at all, when a server has got the
        rows and is at work; it must raise nothing."""

    def append(
        self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> bool:
        """Insert rows that should all be new. False: some key is taken, and this transaction must not be
        committed."""

    def update_rows(self, cursor: Any, update: RowUpdate, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """``sql`` does it for one row."""

    def add_up(self, cursor: Any, sql: str, changes: Sequence[tuple[int, int, str, int]]) -> None:
        """Change rows of the tally, in this order; ``sql`` does it for one."""

    def lock(self, cursor: Any, room: Room, numbers: Sequence[int], *, shared: bool) -> None:
        """Until the transaction ends. ``numbers`` are sorted."""

    def hold(self, room: Room, number: int) -> AbstractContextManager[bool]:
        """Held until it is left, or this process or its connection dies. False: somebody else has it."""

    def holder(self, connection: Connection, room: Room, number: int) -> str | None:
        """Who has it: ``host:pid``."""

    def translated(self) -> AbstractContextManager[None]: ...

    def close(self) -> None: ...

    def after_fork(self) -> None:
        """In the child, which does not use it. Locks on files are its parent's alone from now on."""
