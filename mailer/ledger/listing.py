"""Messages that applications handed over, newest first, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from mailer.ledger.database import Database
from mailer.ledger.rows import address_hash
from mailer.ledger.schema import message, recipient, serial, single, tally
from mailer.ledger.statements import one_of
from mailer.ledger.suppressions import key
from mailer.message import WAITING, State

#: Rows looked at in one go, and how often per page: a filter that fits nothing must not hold a request up.
CHUNK = 500
CHUNKS = 10
#: Greater than every public name.
_END = "g"  # no hexadecimal digit, and behind them in any collation

_WAITING = select(func.coalesce(func.sum(tally.c.n), 0)).where(
    tally.c.campaign_id.in_(select(serial.c.campaign_id)),
    tally.c.state.in_(sorted(state.value for state in WAITING)),
)

_NAMES = (
    select(single.c.public, single.c.message_id, single.c.scope)
    .where(single.c.public < bindparam("before"), single.c.public >= bindparam("since"))
    .order_by(single.c.public.desc())
    .limit(CHUNK)
)

_ROWS = (
    select(
        message.c.id,
        message.c.state,
        message.c.outcome,
        message.c.settled_at,
        recipient.c.address,
        recipient.c.cells,
    )
    .join(recipient, recipient.c.id == message.c.id)
    .where(one_of(message.c.id, "ids"))
)

_OWNER = select(single.c.scope).where(single.c.public == bindparam("public"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a message must be to be listed; None: anything. ``since`` is seconds since the epoch, and means
    when it was handed over or is to be sent. ``scope``: whose it is."""

    state: str | None = None
    to: str | None = None
    tag: str | None = None
    template: str | None = None
    since: float = 0.0
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """``public`` is its name outside, ``settled_at`` seconds since the epoch."""

    public: str
    state: State
    address: str
    outcome: str | None
    settled_at: float | None
    template: str | None
    tags: tuple[str, ...]


class Listing:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> int:
        """How many of these messages wait to be sent, those for later included."""
        with self._database.read() as connection:
            return int(connection.execute(_WAITING).scalar_one())

    def owner(self, public: str) -> str | None:
        """Whose message it is: the scope under which it was handed over."""
        with self._database.read() as connection:
            found: str | None = connection.execute(_OWNER, {"public": public}).scalar()
            return found

    def page(self, wanted: Wanted, limit: int, before: str | None = None) -> tuple[list[Listed], str | None]:
        """So many at most, and where the next page begins; None at the end. A page may hold fewer, even
        none, and still not be the last."""
        found: list[Listed] = []
        cursor = before or _END
        since = f"{max(0, int(wanted.since * 1000)):011x}"
        for _ in range(CHUNKS):
            with self._database.read() as connection:
                names = connection.execute(_NAMES, {"before": cursor, "since": since}).fetchall()
                rows = _rows(connection, self._database, names, wanted)
            for one in rows:
                found.append(one)
                if len(found) == limit:
                    return found, one.public
            if len(names) < CHUNK:
                return found, None
            cursor = names[-1][0]
        return found, cursor


def _rows(
    connection: Connection, database: Database, names: Sequence[Any], wanted: Wanted
) -> Iterator[Listed]:
    """In the order of the names. Raises nothing: what was pruned is left out."""
    own = {id_: public for public, id_, scope in names if wanted.scope in (None, scope)}
    statement = _ROWS
    if wanted.state is not None:
        statement = statement.where(message.c.state == wanted.state)
    if wanted.to is not None:
        statement = statement.where(recipient.c.address_hash == address_hash(wanted.to))
    rows = connection.execute(statement, {"ids": database.dialect.array(list(own))}).fetchall()
    listed = [one for row in rows if (one := _listed(own[row[0]], row, wanted))]
    return iter(sorted(listed, key=lambda one: one.public, reverse=True))


def _listed(public: str, row: Any, wanted: Wanted) -> Listed | None:
    _, state, outcome, settled_at, address, cells = row
    letter = json.loads(cells)
    template, tags = letter.get("template"), tuple(letter.get("tags", ()))
    if (
        (wanted.to is not None and key(address) != key(wanted.to))
        or wanted.template not in (None, template)
        or (wanted.tag is not None and wanted.tag not in tags)
    ):
        return None
    return Listed(public, State(state), address, outcome, settled_at, template, tags)
