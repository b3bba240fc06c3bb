"""Connections and transactions over one ledger."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Connection, CursorResult, Engine, bindparam, make_url, update
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.base import Executable

from mailer.errors import ConfigError, LedgerBusy
from mailer.ledger.schema import tally
from mailer.ledger.sqlite import DIALECTS, SQLite
from mailer.ledger.statements import Prepared

_ADD_TO_TALLY = (
    update(tally)
    .where(tally.c.campaign_id == bindparam("in_campaign"), tally.c.state == bindparam("in_state"))
    .values(n=tally.c.n + bindparam("more"))
)


class Transaction:
    """One transaction under way. ``now`` is the database's time at its start."""

    def __init__(self, database: Database, connection: Connection, cursor: Any) -> None:
        self.connection = connection
        self.cursor = cursor
        self.dialect = database.dialect
        self.now = database.clock()
        self._prepared = database.prepared
        self._moves: defaultdict[tuple[int, str], int] = defaultdict(int)

    def execute(self, statement: Executable, **parameters: Any) -> CursorResult[Any]:
        """For what does not run with every commit."""
        return self.connection.execute(statement, parameters)

    def rows(self, statement: Executable, **parameters: Any) -> list[Any]:
        """Plain tuples, by the driver."""
        prepared = self._prepared(statement)
        rows: list[Any] = self.cursor.execute(prepared.sql, prepared.parameters(parameters)).fetchall()
        return rows

    def run(self, statement: Executable, **parameters: Any) -> int:
        """By the driver; how many rows it touched."""
        prepared = self._prepared(statement)
        self.cursor.execute(prepared.sql, prepared.parameters(parameters))
        return int(self.cursor.rowcount)

    def many(self, statement: Executable, rows: Iterable[tuple[Any, ...]]) -> None:
        """By the driver, once per tuple; each has the values in the order in which the SQL has them."""
        self.cursor.executemany(self._prepared(statement).sql, rows)

    def array(self, values: Collection[Any]) -> Any:
        return self.dialect.array(values)

    def moved(self, campaign_id: int, before: str | None, after: str, rows: int = 1) -> None:
        """So many rows changed their state; None before they were there. Written to the tally at commit."""
        moves = self._moves
        if before is not None:
            moves[campaign_id, before] -= rows
        moves[campaign_id, after] += rows

    def write_tally(self) -> None:
        # Always in the same order: two transactions that wait for each other's row would never end.
        changes = [(n, id_, str(state)) for (id_, state), n in sorted(self._moves.items()) if n]
        if changes:
            self.many(_ADD_TO_TALLY, changes)


@dataclass(slots=True)
class _Opened:
    dialect: SQLite
    readers: Engine
    writer: Engine
    #: The writer's only one, for whoever has the turn. Kept: to take it from a pool costs 50 µs each time.
    connection: Connection | None = None
    cursor: Any = None

    def connect(self) -> Connection:
        if self.connection is None:
            self.dialect.create()
            self.connection = self.writer.connect()
            driver: Any = self.connection.connection.driver_connection
            self.cursor = driver.cursor()
        return self.connection

    def close(self) -> None:
        if self.connection is not None:
            with suppress(LedgerBusy), self.dialect.turn():  # whoever is writing finishes first
                self.connection.close()
        self.readers.dispose()
        self.writer.dispose()
        self.dialect.close()


class Database:
    """For all threads of a process, and for its children after a fork. Opens nothing before it is used, and
    opens again after ``close``."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """Raises ConfigError for a URL that cannot be used."""
        self.clock = clock
        self._url = _parsed(url)
        self._statements: dict[Executable, Prepared] = {}
        self._opening = threading.Lock()
        self._opened: _Opened | None = None
        self._parents: list[_Opened | None] = []
        self._open()
        _all.add(self)

    @property
    def url(self) -> str:
        """With its login, if it has one."""
        return self._url.render_as_string(hide_password=False)

    @property
    def dialect(self) -> SQLite:
        return self._open().dialect

    def exists(self) -> bool:
        """Something is stored there already."""
        return self.dialect.exists()

    def close(self) -> None:
        """Close what is open; what is being written is finished first."""
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view. Never waits for writers; keep it short, the log cannot shrink meanwhile."""
        opened = self._open()
        with opened.dialect.translated(), opened.readers.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """All or nothing. Not re-entrant. Raises LedgerBusy when no turn to write came."""
        opened = self._open()
        with opened.dialect.translated(), opened.dialect.turn():
            connection = opened.connect()
            opened.cursor.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(self, connection, opened.cursor)
                yield transaction
                transaction.write_tally()
                opened.cursor.execute("COMMIT")
            finally:
                _end(connection)

    def prepared(self, statement: Executable) -> Prepared:
        """A statement of module level, compiled at its first use."""
        found = self._statements.get(statement)
        if found is None:
            found = self._statements[statement] = Prepared(statement, self._open().writer.dialect)
        return found

    def _open(self) -> _Opened:
        opened = self._opened
        if opened is not None:
            return opened
        with self._opening:
            if self._opened is None:
                dialect = DIALECTS[self._url.drivername](self._url)
                self._opened = _Opened(dialect, dialect.readers(), dialect.writer())
            return self._opened

    def after_fork(self) -> None:
        """In the child. What the parent opened is neither used nor closed: an SQLite connection must not be
        carried across a fork, and a lock on an open file would be held by both."""
        self._opening = threading.Lock()
        self._parents.append(self._opened)
        self._opened = None


def _end(connection: Connection) -> None:
    """After a commit this tells SQLAlchemy; after a failure it rolls back."""
    driver: Any = connection.connection.driver_connection
    if connection.in_transaction():
        connection.rollback()
    if driver.in_transaction:
        driver.rollback()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        message = "the ledger URL cannot be read: expected sqlite:////path/to/mailer.db"
        raise ConfigError(message) from None
    if parsed.drivername not in DIALECTS:
        message = f"unknown ledger {parsed.drivername!r}, expected one of: {', '.join(DIALECTS)}"
        raise ConfigError(message)
    return parsed


_all: WeakSet[Database] = WeakSet()


def _after_fork() -> None:
    for database in _all:
        database.after_fork()


os.register_at_fork(after_in_child=_after_fork)
