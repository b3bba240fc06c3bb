"""Addresses that must not be mailed: in one stream, or in any (``"*"``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import bindparam, delete, literal, select

from mailer.ledger.contract import Suppression
from mailer.ledger.database import Database
from mailer.ledger.schema import recipient, suppression
from mailer.ledger.statements import one_of
from mailer.ledger.transaction import Transaction

EVERY_STREAM = "*"

#: Addresses added in one transaction.
PAGE = 5000

_AMONG = select(suppression.c.address).where(
    one_of(suppression.c.address, "addresses"),
    suppression.c.stream.in_([bindparam("stream"), literal(EVERY_STREAM)]),
)

_ADDRESSES = select(recipient.c.id, recipient.c.address).where(one_of(recipient.c.id, "ids"))

_COLUMNS = ("address", "stream", "reason", "added_at")


class Suppressions:
    """Addresses are compared as ``Address.key`` compares them. What is added twice keeps its first reason."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, address: str, stream: str = EVERY_STREAM, reason: str = "") -> None:
        with self._database.write() as tx:
            _add(tx, [(address, stream, reason)])

    def add_many(self, entries: Iterable[tuple[str, str, str]]) -> int:
        """Address, stream and reason of each; how many were new. A transaction per few thousand."""
        iterator, new = iter(entries), 0
        while page := list(islice(iterator, PAGE)):
            with self._database.write() as tx:
                new += _add(tx, page)
        return new

    def remove(self, address: str, stream: str = EVERY_STREAM) -> bool:
        """False when it was not there."""
        statement = delete(suppression).where(
            suppression.c.address == key(address), suppression.c.stream == stream
        )
        with self._database.write() as tx:
            return tx.execute(statement).rowcount > 0

    def list(self) -> list[Suppression]:
        """Oldest first."""
        statement = select(suppression).order_by(suppression.c.added_at, suppression.c.address)
        with self._database.read() as connection:
            return [Suppression(*row) for row in connection.execute(statement)]

    def among(self, addresses: Sequence[str], stream: str) -> set[str]:
        """Those of the addresses, as given, that must not be mailed in this stream."""
        with self._database.read() as connection:
            parameters = {"addresses": self._database.dialect.array(_keys(addresses)), "stream": stream}
            found = set(connection.execute(_AMONG, parameters).scalars())
        return {address for address in addresses if key(address) in found}


def key(address: str) -> str:
    """As ``Address.key``: who differs only by case is one person."""
    return address.casefold()


def suppressed_among(tx: Transaction, addresses: Sequence[str], stream: str) -> set[str]:
    found = {row[0] for row in tx.rows(_AMONG, addresses=tx.array(_keys(addresses)), stream=stream)}
    return {address for address in addresses if key(address) in found} if found else set()


def suppress_rows(tx: Transaction, rows: Collection[tuple[int, str]]) -> None:
    """For each (row id, reason): its address is bad, so no stream may use it."""
    reasons = dict(rows)
    found: Sequence[Any] = tx.rows(_ADDRESSES, ids=tx.array(list(reasons)))
    _add(tx, [(address, EVERY_STREAM, reasons[id_]) for id_, address in found])


def _add(tx: Transaction, entries: Sequence[tuple[str, str, str]]) -> int:
    rows = [(key(address), stream, reason, tx.now) for address, stream, reason in entries]
    return tx.dialect.insert_new(tx.cursor, suppression.name, _COLUMNS, rows)


def _keys(addresses: Sequence[str]) -> list[str]:
    return [key(address) for address in addresses]
