"""What is special about SQLite."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from mailer.errors import ConfigError, LedgerBusy, LedgerError
from mailer.ledger.dialect import Began, Room
from mailer.ledger.queueing import WriteQueue
from mailer.ledger.statements import RowUpdate

#: FULL, because a mark that a power cut forgets is a message sent twice. A long log, because a checkpoint
#: costs two more flushes.
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "busy_timeout = 60000",
    "cache_size = -8192",
    "temp_store = MEMORY",
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
    "secure_delete = ON",  # what was erased is not in the file any more, whoever built SQLite
)
#: SQLite takes 32 766 parameters; more than this in one statement gains nothing.
_MOST_PARAMETERS = 3000

_FULL_DISK = (
    "the disk that holds {file} is full: free some space and go on; what was not confirmed was not written"
)
_ADVICE = {
    sqlite3.SQLITE_FULL: _FULL_DISK,
    sqlite3.SQLITE_IOERR: "{file} cannot be written or read ({error}): look at the disk and its space",
    sqlite3.SQLITE_CANTOPEN: "{file} cannot be opened: does its folder exist, and may this user write there?",
    sqlite3.SQLITE_READONLY: "{file} may not be written by this user: change its owner or its mode",
    sqlite3.SQLITE_PERM: "{file} may not be written by this user: change its owner or its mode",
    sqlite3.SQLITE_NOTADB: "{file} is not a ledger: name another file with --ledger",
    sqlite3.SQLITE_CORRUPT: "{file} is damaged ({error}): restore a backup, or try `sqlite3 {file} .recover`",
}


class SQLite:
    """One file, in WAL mode: readers never wait, writers queue (``queueing``)."""

    name = "sqlite"
    slots = 1
    patience = 0.0

    def __init__(self, url: URL) -> None:
        """Raises ConfigError for a ledger that only one process could see."""
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise ConfigError("the ledger must be a file: sqlite:////var/lib/mailer/mailer.db")
        self.path = Path(url.database).expanduser().absolute()
        self._url = URL.create("sqlite", database=str(self.path))
        self._queue = WriteQueue(self.path.with_name(self.path.name + "-lock"))

    @property
    def file(self) -> Path:
        return self.path

    def exists(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def create(self) -> None:
        """Before SQLite does, which would let others read it; its log gets the same mode as the file.

        One that is there is not opened: to close any descriptor of it would let go of the locks of all
        connections of this process (POSIX), and the next process to leave would delete the log under them.
        """
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))

    def writer(self) -> Engine:
        return self._engine(StaticPool, ())

    def readers(self) -> Engine:
        engine = self._engine(QueuePool, ("query_only = ON",))

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def _engine(self, pool: type[QueuePool | StaticPool], pragmas: tuple[str, ...]) -> Engine:
        engine = create_engine(
            self._url, poolclass=pool, connect_args={"check_same_thread": False, "timeout": 60.0}
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _: object) -> None:
            connection.isolation_level = None  # BEGIN is ours to say
            for pragma in (*_PRAGMAS, *pragmas):
                connection.execute(f"PRAGMA {pragma}")

        return engine

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._queue.turn():
            yield

    def close(self) -> None:
        self._queue.close()

    def after_fork(self) -> None:
        self._queue.after_fork()

    def slot(self) -> int:
        return 0

    def begin(self, cursor: Any, share: Sequence[int]) -> Began:
        cursor.execute("BEGIN IMMEDIATE")
        return Began(time.time())

    def gathering(self, cursor: Any) -> Any:
        return cursor

    def commit(self, cursor: Any, began: Began) -> None:
        cursor.execute("COMMIT")

    def tidy(self, driver: Any) -> bool:
        if driver.in_transaction:
            driver.rollback()
        return True

    def lost(self, error: BaseException) -> bool:
        return False

    def now(self, connection: Connection) -> float:
        return time.time()

    def lock(self, cursor: Any, room: Room, numbers: Sequence[int], *, shared: bool) -> None:
        """Nothing: who may write, writes alone."""

    def hold(self, room: Room, number: int) -> AbstractContextManager[bool]:
        raise NotImplementedError("a file beside this one is locked instead")

    def holder(self, connection: Connection, room: Room, number: int) -> str | None:
        raise NotImplementedError("a file beside this one is locked instead")

    def prepare(self, cursor: Any) -> None:
        """Nothing: a new file is ready."""

    @staticmethod
    def array(values: Collection[Any]) -> str:
        return orjson.dumps(list(values)).decode()

    @staticmethod
    def insert_new(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert the rows whose key is new; how many those were. Many rows per statement: a third of the cost
        of ``executemany``."""
        per = _MOST_PARAMETERS // len(columns)
        row = f"({','.join('?' * len(columns))})"
        head = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608 - names from schema.py
        added = 0
        for start in range(0, len(rows), per):
            part = rows[start : start + per]
            cursor.execute(head + ",".join([row] * len(part)), tuple(chain.from_iterable(part)))
            added += cursor.rowcount
        return added

    def load(
        self,
        cursor: Any,
        table: str,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
        meanwhile: Callable[[], None],
    ) -> int:
        """There is no server: other writers would only wait for longer."""
        return self.insert_new(cursor, table, columns, rows)

    def append(
        self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> bool:
        return self.insert_new(cursor, table, columns, rows) == len(rows)

    def update_rows(self, cursor: Any, update: RowUpdate, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        cursor.executemany(sql, rows)

    def add_up(self, cursor: Any, sql: str, changes: Sequence[tuple[int, int, str, int]]) -> None:
        cursor.executemany(sql, changes)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The seam at which the driver's exceptions become ours."""
        try:
            yield
        except DBAPIError as exc:
            raise self._translate(exc.orig) from exc
        except (sqlite3.Error, OSError) as exc:
            raise self._translate(exc) from exc

    def _translate(self, exc: BaseException | None) -> LedgerError:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LedgerBusy(f"{self.path} is locked by another program: close it, or try again")
        if isinstance(exc, PermissionError):
            return LedgerError(_ADVICE[sqlite3.SQLITE_PERM].format(file=self.path))
        if isinstance(exc, OSError):
            return LedgerError(f"{self.path} cannot be used: {exc.strerror or exc}")
        advice = _ADVICE.get(code, "{file} cannot be used: {error}")
        return LedgerError(advice.format(file=self.path, error=exc))
