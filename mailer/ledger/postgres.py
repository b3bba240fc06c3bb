"""What is special about PostgreSQL.

Writers of several processes work at the same time, under READ COMMITTED. What SQLite's single writer gives
for nothing is asked for here:

* Whoever changes rows of a campaign shares its lock; whoever decides about all of it (pause, cancel, finish,
  retry, recover, load rows) has it alone. These are advisory locks: their queue is fair, where row locks that
  many share would let a pause starve, and they write nothing.
* Locks are taken in one order, so nobody waits in a circle: campaigns by number, rows by id, keys of
  suppressions sorted, the tally sorted and last.
* A COMMIT whose answer is lost is looked up: every transaction leaves a random number, its witness, in a row
  that only this writer uses. Found there, it was committed; otherwise it was not. While the old session is
  still at work, that row is locked, and the look waits.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from mailer.errors import LedgerBusy
from mailer.ledger.dialect import Began, Room
from mailer.ledger.postgres_errors import translate
from mailer.ledger.postgres_sessions import PATIENCE_SECONDS, SCHEMA, Sessions
from mailer.ledger.postgres_writes import ADD_UP, Gathering, copy, update_all
from mailer.ledger.statements import RowUpdate

_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_BEGIN = f"BEGIN; {_NOW}"
_BEGIN_WITNESSED = (
    "BEGIN; UPDATE meta SET value = {witness} WHERE key = 'writer-{number}'"
    " RETURNING extract(epoch FROM clock_timestamp())::float8"
)
_WITNESS = "SELECT value FROM meta WHERE key = %s FOR UPDATE"

_LOCK = "SELECT pg_advisory_xact_lock(%s, k) FROM unnest(%s::int4[]) AS k"
_SHARE = "SELECT pg_advisory_xact_lock_shared(%s, k) FROM unnest(%s::int4[]) AS k"
_SHARE_ONE = "SELECT pg_advisory_xact_lock_shared({room}, {number}::int4)"
#: Else the server plans each statement anew each time, because an array might be long: a third of its CPU.
_KEEP_PLANS = "SET LOCAL plan_cache_mode = force_generic_plan"
_TRY = "SELECT pg_try_advisory_lock(%s::int4, %s::int4)"
_HOLDER = """
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s
"""

#: PostgreSQL takes 65 535 parameters; more than this in one statement gains nothing.
_MOST_PARAMETERS = 3000

#: From so many rows on COPY costs less than INSERT: a fifth of it for a thousand (docs/performance.md).
_WORTH_A_COPY = 8


class Postgres:
    """A schema ``mailer`` in one database: several machines may work on it."""

    name = "postgresql"
    #: Eight, because every commit would otherwise wait for the flush of the one before it: see
    #: docs/performance.md.
    slots = 8
    patience = PATIENCE_SECONDS
    file: Path | None = None

    def __init__(self, url: URL) -> None:
        self._sessions = Sessions(url)
        self._turn = threading.Lock()

    def exists(self) -> bool:
        return True

    def create(self) -> None:
        """Nothing: migrations make the schema."""

    def slot(self) -> int:
        return (self._sessions.number or 0) % self.slots

    # Connections.

    def writer(self) -> Engine:
        return self._sessions.writer()

    def readers(self) -> Engine:
        return self._sessions.readers()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Between the threads of this process only."""
        if not self._turn.acquire(timeout=PATIENCE_SECONDS):
            raise LedgerBusy("this process has been writing to the ledger for too long: try again")
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Nothing: the pools are closed by their owner."""

    def after_fork(self) -> None:
        """Nothing: the connections were closed before."""

    # Transactions.

    def begin(self, cursor: Any, share: Sequence[int]) -> Began:
        """The time is the database's: clocks of machines differ, and leases are compared (I8)."""
        if self._sessions.number is None:
            witness, statement = 0, _BEGIN
        else:
            witness = random.getrandbits(62)
            statement = _BEGIN_WITNESSED.format(witness=witness, number=self._sessions.number)
        # For what every commit runs; other statements may have plans that depend on their values.
        more = [_KEEP_PLANS] if share else []
        more += [_SHARE_ONE.format(room=Room.CAMPAIGN.value, number=number) for number in share]
        cursor.execute("; ".join([statement, *more]), prepare=False)
        cursor.nextset()
        return Began(cursor.fetchone()[0], witness)

    def gathering(self, cursor: Any) -> Any:
        return Gathering(cursor)

    def commit(self, cursor: Any, began: Began) -> None:
        """Without an answer, the witness is asked (F29). When it cannot be asked for a minute, this raises,
        and nobody knows: a row marked by such a transaction is either still claimed, and given back when its
        lease ends, or SENDING, and then becomes UNKNOWN. Its mark was not confirmed, so it is not sent."""
        if isinstance(cursor, Gathering):
            cursor = cursor.write()
        try:
            cursor.execute("COMMIT")
        except psycopg.OperationalError:
            if not (cursor.connection.closed and began.witness and self._committed(began.witness)):
                raise

    def _committed(self, witness: int) -> bool:
        give_up = time.monotonic() + self.patience
        while True:
            try:
                with self._sessions.connect() as driver:
                    found = driver.execute(_WITNESS, (f"writer-{self._sessions.number}",)).fetchone()
                    return found is not None and found[0] == witness
            except psycopg.OperationalError as error:
                if not self.lost(error) or time.monotonic() > give_up:
                    raise
            time.sleep(0.1)

    def tidy(self, driver: Any) -> bool:
        if driver.closed:
            return False
        if driver.info.transaction_status is not TransactionStatus.IDLE:
            driver.rollback()
        return not driver.closed

    def now(self, connection: Connection) -> float:
        now: float = connection.exec_driver_sql(_NOW).scalar_one()
        return now

    def lock(self, cursor: Any, room: Room, numbers: Sequence[int], *, shared: bool) -> None:
        cursor.execute(_SHARE if shared else _LOCK, (room.value, list(numbers)))

    @contextmanager
    def hold(self, room: Room, number: int) -> Iterator[bool]:
        """On a connection of its own. When the server restarts the lock is gone; leases and the pump's
        election still keep two owners apart."""
        with self.translated():
            driver = self._sessions.connect()
            try:
                found = driver.execute(_TRY, (room.value, number)).fetchone()
                yield bool(found and found[0])
            finally:
                driver.close()

    def holder(self, connection: Connection, room: Room, number: int) -> str | None:
        found = connection.exec_driver_sql(_HOLDER, (room.value, number)).scalar()
        return None if found is None else str(found).removeprefix("mailer ")

    # Rows.

    def prepare(self, cursor: Any) -> None:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")

    def array(self, values: Collection[Any]) -> list[Any]:
        return list(values)

    def insert_new(
        self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> int:
        # Sorted: two transactions that wait for each other's key would never end.
        rows = sorted(rows, key=lambda row: row[:2])
        per = _MOST_PARAMETERS // len(columns)
        row = f"({','.join(['%s'] * len(columns))})"
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608 - names from schema.py
        added = 0
        for start in range(0, len(rows), per):
            part = rows[start : start + per]
            values = ",".join([row] * len(part))
            cursor.execute(f"{head}{values} ON CONFLICT DO NOTHING", tuple(chain.from_iterable(part)))
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
        if not rows:
            return 0
        fresh = {row[0]: row for row in reversed(rows)}
        among = f"SELECT id FROM {table} WHERE id BETWEEN %s AND %s"  # noqa: S608 - names from schema.py
        for (id_,) in cursor.execute(among, (min(fresh), max(fresh))).fetchall():
            fresh.pop(id_, None)
        copy(cursor, table, columns, [fresh[id_] for id_ in sorted(fresh)], meanwhile)
        return len(fresh)

    def append(
        self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> bool:
        if len(rows) < _WORTH_A_COPY:
            return self.insert_new(cursor, table, columns, rows) == len(rows)
        try:
            copy(cursor, table, columns, rows)
        except psycopg.errors.UniqueViolation:
            return False
        return True

    def update_rows(self, cursor: Any, update: RowUpdate, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """All in one statement: a third of the cost of one each, pipelined."""
        latest = {row[-1]: row for row in rows}
        cursor.execute(
            update_all(update, self._sessions.dialect),
            [list(values) for values in zip(*latest.values(), strict=True)],
        )

    def add_up(self, cursor: Any, sql: str, changes: Sequence[tuple[int, int, str, int]]) -> None:
        """In one statement: parts of one that has several would be done in an order of their own."""
        cursor.execute(ADD_UP, [list(values) for values in zip(*changes, strict=True)])

    # What goes wrong.

    def lost(self, error: BaseException) -> bool:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.OperationalError):
            return False
        return cause.sqlstate is None or cause.sqlstate[:3] in ("57P", "533") or cause.sqlstate[:2] == "08"

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The seam at which the driver's exceptions become ours. They are not chained: they quote values."""
        try:
            yield
        except DBAPIError as exc:
            raise translate(exc.orig, self._sessions.place) from None
        except psycopg.Error as exc:
            raise translate(exc, self._sessions.place) from None
