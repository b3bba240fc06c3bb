"""Many rows at once in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Dialect

from mailer.ledger.statements import RowUpdate

#: Row by row, as they are given.
ADD_UP = """
UPDATE tally AS t SET n = t.n + v.n
FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[]) AS v(n, campaign_id, state, slot)
WHERE t.campaign_id = v.campaign_id AND t.state = v.state AND t.slot = v.slot
"""


class Gathering:
    """In place of a cursor: what only writes goes in one statement, as parts that touch different rows. Each
    statement costs a round trip, whatever it does (docs/performance.md)."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._parts: list[str] = []
        self._values: list[Any] = []

    def execute(self, sql: str, values: Sequence[Any]) -> None:
        self._parts.append(sql)
        self._values += values

    @property
    def rowcount(self) -> int:
        return -1

    def write(self) -> Any:
        """The cursor itself, with all of it written."""
        if self._parts:
            *first, last = self._parts
            others = ", ".join(f"part{number} AS ({sql})" for number, sql in enumerate(first))
            self._cursor.execute(f"WITH {others} {last}" if others else last, self._values)
        return self._cursor


def copy(
    cursor: Any,
    table: str,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """The server works on the rows while ``meanwhile`` does: the kernel holds megabytes for it."""
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
        if meanwhile is not None:
            meanwhile()


@cache
def update_all(update: RowUpdate, dialect: Dialect) -> str:
    columns = [*update.columns, "id"]
    arrays = ", ".join(f"%s::{update.table.c[name].type.compile(dialect)}[]" for name in columns)
    sets = ", ".join(f"{name} = v.{name}" for name in update.columns)
    return (
        f"UPDATE {update.table.name} AS t SET {sets}"  # noqa: S608 - names from schema.py
        f" FROM unnest({arrays}) AS v({', '.join(columns)}) WHERE t.id = v.id"
    )
