"""Connections and transactions over one ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.base import Executable

from mailer import forks
from mailer.errors import ConfigError, LedgerBusy
from mailer.ledger.dialect import Began, Dialect
from mailer.ledger.sqlite import SQLite
from mailer.ledger.statements import Prepared
from mailer.ledger.transaction import Transaction

T = TypeVar("T")


def _postgres(url: URL) -> Dialect:
    try:
        from mailer.ledger.postgres import Postgres
    except ImportError:
        raise ConfigError(
            "a ledger on PostgreSQL needs 'psycopg': pip install 'mailer-worker[postgres]'"
        ) from None
    return Postgres(url)


#: From the first part of a ledger's URL to what knows that database.
DIALECTS: dict[str, Callable[[URL], Dialect]] = {
    "sqlite": SQLite,
    "postgresql": _postgres,
    "postgresql+psycopg": _postgres,
}


@dataclass(slots=True)
class _Opened:
    dialect: Dialect
    readers: Engine
    writer: Engine
    #: The writer's only one, for whoever has the turn. Kept: to take it from a pool costs 50 µs each time.
    connection: Connection | None = None
    cursor: Any = None
    #: It has answered before, so it is worth waiting for.
    known: bool = False

    def begin(self, share: Sequence[int]) -> tuple[Connection, Began]:
        """A connection that broke while nobody used it is replaced."""
        return self.patiently(lambda: self._begin(share))

    def _begin(self, share: Sequence[int]) -> tuple[Connection, Began]:
        if self.connection is None:
            self.dialect.create()
            self.connection = self.writer.connect()
            driver: Any = self.connection.connection.driver_connection
            self.cursor = driver.cursor()
        try:
            return self.connection, self.dialect.begin(self.cursor, share)
        except BaseException:
            self.end()
            raise

    def patiently(self, first_step: Callable[[], T]) -> T:
        """What has done nothing yet may be tried again. Raises LedgerBusy when the server stays away."""
        give_up = time.monotonic() + self.dialect.patience
        while True:
            try:
                result = first_step()
            except Exception as error:
                if not (self.known and self.dialect.lost(error)):
                    raise
                if time.monotonic() > give_up:
                    raise LedgerBusy(_STAYS_AWAY.format(self.dialect.patience)) from None
                time.sleep(0.1)
            else:
                self.known = True
                return result

    def end(self) -> None:
        """After a commit this tells SQLAlchemy; after a failure it rolls back."""
        connection = self.connection
        if connection is None:
            return
        driver: Any = connection.connection.driver_connection
        if self.dialect.tidy(driver):
            if connection.in_transaction():
                connection.rollback()
        else:
            self.connection = self.cursor = None
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        if self.connection is not None:
            with suppress(LedgerBusy), self.dialect.turn():  # whoever is writing finishes first
                self._let_go_inside()
        self._let_go_inside()
        self.dialect.close()

    def _let_go_inside(self) -> None:
        with forks.transactions.inside():
            self.let_go()

    def let_go(self) -> None:
        """Close the connections, with nobody at work; whoever needs one opens it again."""
        connection, self.connection, self.cursor = self.connection, None, None
        if connection is not None:
            connection.close()
        self.readers.dispose()
        self.writer.dispose()


_STAYS_AWAY = "the ledger's database has not answered for {:.0f} s: is it running? Then try again"


class Database:
    """For all threads of a process, and for its children after a fork. Opens nothing before it is used, and
    opens again after ``close``."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        """Raises ConfigError for a URL that cannot be used. ``clock`` instead of the database's is for
        tests."""
        self._clock = clock
        self._url = _parsed(url)
        self._statements: dict[Executable, Prepared] = {}
        self._opening = threading.Lock()
        self._opened: _Opened | None = None
        self._open()
        forks.closed_before_fork(self)
        forks.renewed_after_fork(self)

    @property
    def path(self) -> Path | None:
        """The file, if it is one."""
        return self.dialect.file

    @property
    def dialect(self) -> Dialect:
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
        with (
            opened.dialect.translated(),
            forks.transactions.inside(),
            opened.patiently(opened.readers.connect) as connection,
        ):
            yield connection

    def clock(self) -> float:
        """The database's time, for who has no connection."""
        with self.read() as connection:
            return self.now(connection)

    def now(self, connection: Connection) -> float:
        """The database's time."""
        return self._clock() if self._clock else self.dialect.now(connection)

    @contextmanager
    def write(self, *alone: int, share: Collection[int] = ()) -> Iterator[Transaction]:
        """All or nothing. Not re-entrant. Nobody else changes the campaigns ``alone``, or their rows,
        meanwhile; those in ``share`` are shared from the beginning. Raises LedgerBusy when no turn to write
        came."""
        opened = self._open()
        with opened.dialect.translated(), opened.dialect.turn(), forks.transactions.inside():
            connection, began = opened.begin(sorted(share))
            try:
                now = self._clock() if self._clock else began.now
                transaction = Transaction(
                    opened.dialect, self.prepared, connection, opened.cursor, now=now, shared=share
                )
                if alone:
                    transaction.steer(alone)
                yield transaction
                transaction.write_tally()
                opened.dialect.commit(transaction.cursor, began)
            finally:
                opened.end()

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
        with forks.transactions.inside(), self._opening:  # it imports what it needs
            if self._opened is None:
                dialect = DIALECTS[self._url.drivername](self._url)
                self._opened = _Opened(dialect, dialect.readers(), dialect.writer())
            return self._opened

    def before_fork(self) -> None:
        """SQLite remembers per file which locks its process holds. A child would inherit that, and take none
        of its own: another process could then remove the log under its feet. And a server keeps what a dead
        process has locked for as long as its child has the connection."""
        if self._opened is not None:
            self._opened.let_go()

    def after_fork(self) -> None:
        """What the parent had is neither used nor closed."""
        opened, self._opened = self._opened, None
        self._opening = threading.Lock()
        if opened is not None:
            opened.dialect.after_fork()
            forks.parents.append(opened)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        message = (
            "the ledger URL cannot be read: expected sqlite:////path/to/mailer.db"
            " or postgresql://user:password@host/database"
        )
        raise ConfigError(message) from None
    if parsed.drivername not in DIALECTS:
        message = f"unknown ledger {parsed.drivername!r}, expected one of: {', '.join(DIALECTS)}"
        raise ConfigError(message)
    return parsed
