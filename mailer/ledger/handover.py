"""Messages written inside an application's own transaction, on PostgreSQL: they exist when that commits.

They lie in a table of their own, because a row of ``message`` comes with locks that other senders and the
workers would wait for until the application commits. The pump makes rows of them once a second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, exists, select

from mailer.errors import ConfigError, IdempotencyConflict
from mailer.ledger import erasing
from mailer.ledger.database import Database
from mailer.ledger.schema import handover
from mailer.ledger.single_rows import Added, CampaignClosed, Single, add, key_taken
from mailer.ledger.transaction import Transaction
from mailer.message import State

log = logging.getLogger(__name__)

#: Rows made in one transaction.
AT_ONCE = 500

_COLUMNS = Single._fields

_INSERT = (
    f"INSERT INTO mailer.handover ({', '.join(_COLUMNS)}) VALUES ({', '.join(['%s'] * len(_COLUMNS))})"  # noqa: S608
    " ON CONFLICT DO NOTHING RETURNING public"
)
_HANDED = "SELECT public, fingerprint FROM mailer.handover WHERE scope = %s AND key = %s"
_STORED = "SELECT public, fingerprint FROM mailer.single WHERE scope = %s AND key = %s"
_WITHDRAW = "DELETE FROM mailer.handover WHERE public = %s"

_SOME = select(*(handover.c[name] for name in _COLUMNS)).order_by(handover.c.public).limit(AT_ONCE)


class Handover:
    """Safe for threads, as far as the application's connection is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, connection: Any, singles: Sequence[Single]) -> list[Added]:
        """Write them through this connection, in whatever transaction it has. Raises IdempotencyConflict,
        ConfigError, and what the connection raises."""
        if self._database.dialect.name != "postgresql":
            raise ConfigError("connection= needs a ledger on PostgreSQL, in the application's own database")
        return [_put(connection, one) for one in singles]

    def find(self, public: str) -> str | None:
        """The address of one that was committed and is no row yet."""
        with self._database.read() as connection:
            statement = select(handover.c.address).where(handover.c.public == public)
            return connection.execute(statement).scalar()

    def cancel(self, public: str) -> bool:
        with self._database.write() as tx:
            return tx.execute(delete(handover).where(handover.c.public == public)).rowcount > 0

    def collect(self) -> int:
        """Make rows of what was committed; how many."""
        made = 0
        while self._any():
            with self._database.write() as tx:
                made += _collect(tx)
        return made

    def _any(self) -> bool:
        with self._database.read() as connection:
            return bool(connection.execute(select(exists().select_from(handover))).scalar())


def _put(connection: Any, one: Single) -> Added:
    rows = _run(connection, _INSERT, one)
    if one.key is None:
        return Added(one.public, 0, created=True)
    if not rows:  # waited for, if another transaction was about to write it
        known = _run(connection, _HANDED, (one.scope, one.key))
    else:
        known = _run(connection, _STORED, (one.scope, one.key))
        if not known:
            return Added(one.public, 0, created=True)
        _run(connection, _WITHDRAW, (one.public,))
    ((public, fingerprint),) = known or _run(connection, _STORED, (one.scope, one.key))
    if fingerprint is not None and fingerprint != one.fingerprint:
        raise key_taken(one)
    return Added(public, 0, created=False)


def _run(connection: Any, statement: str, values: tuple[Any, ...]) -> list[Any]:
    """By SQLAlchemy's Connection or Session, Django's or psycopg's own."""
    if hasattr(connection, "exec_driver_sql"):
        result = connection.exec_driver_sql(statement, values)
        return list(result.fetchall()) if result.returns_rows else []
    if hasattr(connection, "connection") and callable(connection.connection):
        return _run(connection.connection(), statement, values)
    if not hasattr(connection, "cursor"):
        raise ConfigError("connection= takes a connection of SQLAlchemy, Django or psycopg")
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []


def _collect(tx: Transaction) -> int:
    found = [Single(*row) for row in tx.connection.execute(_SOME)]
    tx.share({one.campaign_id for one in found})
    names = [one.public for one in found]
    gone = tx.execute(delete(handover).where(handover.c.public.in_(names)).returning(handover.c.public))
    mine = set(gone.scalars())  # another pump may have been quicker
    for one in found:
        if one.public in mine:
            _make(tx, one)
    return len(mine)


def _make(tx: Transaction, one: Single) -> None:
    try:
        add(tx, [one])
    except CampaignClosed:
        (added,) = add(tx, [one], state=State.CANCELLED)
        erasing.ended(tx, one.campaign_id, [added.id])
    except IdempotencyConflict:
        # Its key became another message's between its look and its commit; nobody can be told any more.
        log.error("message %s was not sent: its idempotency key is another message's", one.public)
