"""What is done inside one transaction, through SQLAlchemy or, where it counts, straight by the driver."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, bindparam, update
from sqlalchemy.sql.base import Executable

from mailer.ledger.dialect import Dialect, Room
from mailer.ledger.schema import tally
from mailer.ledger.statements import Prepared, RowUpdate

_ADD_TO_TALLY = (
    update(tally)
    .where(
        tally.c.campaign_id == bindparam("in_campaign"),
        tally.c.state == bindparam("in_state"),
        tally.c.slot == bindparam("in_slot"),
    )
    .values(n=tally.c.n + bindparam("more"))
)


class Transaction:
    """One transaction under way. ``now`` is the database's time at its start."""

    def __init__(
        self,
        dialect: Dialect,
        prepared: Callable[[Executable], Prepared],
        connection: Connection,
        cursor: Any,
        *,
        now: float,
        shared: Iterable[int] = (),
    ) -> None:
        self.connection = connection
        self.cursor = cursor
        self.dialect = dialect
        self.now = now
        self._prepared = prepared
        self._shared: set[int] = set(shared)
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

    def update_rows(self, update: RowUpdate, rows: Sequence[tuple[Any, ...]]) -> None:
        """Of two for the same row the later one counts."""
        self.dialect.update_rows(self.cursor, update, self._prepared(update.one).sql, rows)

    def array(self, values: Collection[Any]) -> Any:
        return self.dialect.array(values)

    def only_write(self) -> None:
        """From now on nothing is read, no row is written twice, and nobody asks how many rows it were: then
        what is written may go to the database at once."""
        self.cursor = self.dialect.gathering(self.cursor)

    def share(self, campaigns: Iterable[int]) -> None:
        """To be said before rows of these campaigns are changed, of all of them at once: until this
        transaction ends, nobody has one of them alone. What was read before this may be stale."""
        if new := set(campaigns) - self._shared:
            self._shared |= new
            self.dialect.lock(self.cursor, Room.CAMPAIGN, sorted(new), shared=True)

    def alone(self, room: Room, numbers: Iterable[int] = (0,)) -> None:
        """Until this transaction ends, nobody else has any of these. What was read before may be stale."""
        self.dialect.lock(self.cursor, room, sorted(set(numbers)), shared=False)

    def steer(self, campaigns: Iterable[int]) -> None:
        """Until this transaction ends, nobody else changes these campaigns or their rows."""
        self.dialect.lock(self.cursor, Room.STEERING, [0], shared=True)
        self.alone(Room.CAMPAIGN, campaigns)

    def moved(self, campaign_id: int, before: str | None, after: str, rows: int = 1) -> None:
        """So many rows changed their state; None before they were there. Written to the tally at commit."""
        moves = self._moves
        if before is not None:
            moves[campaign_id, before] -= rows
        moves[campaign_id, after] += rows

    def write_tally(self) -> None:
        # Always in the same order: two transactions that wait for each other's row would never end.
        slot = self.dialect.slot()
        changes = [(n, id_, str(state), slot) for (id_, state), n in sorted(self._moves.items()) if n]
        if changes:
            self.dialect.add_up(self.cursor, self._prepared(_ADD_TO_TALLY).sql, changes)
