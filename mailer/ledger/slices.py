"""Slices: claimed, kept alive, marked, settled, and recovered when their worker is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, select, update

from mailer.ledger.claiming import claim
from mailer.ledger.contract import Recovery, Settlement, Slice
from mailer.ledger.database import Database
from mailer.ledger.marking import mark
from mailer.ledger.recovering import recover
from mailer.ledger.schema import HELD, lease, message
from mailer.ledger.settling import settle
from mailer.ledger.statements import one_of
from mailer.ledger.transaction import Transaction


def _locked(which: ColumnElement[bool]) -> Select[Any]:
    """In one order, because another process may be abandoning some of these leases."""
    return select(lease.c.id).where(which).order_by(lease.c.id).with_for_update()


_RENEW = (
    update(lease)
    .where(
        lease.c.id.in_(_locked(one_of(lease.c.id, "fences"))),
        lease.c.until > bindparam("now"),
    )
    .values(until=bindparam("new_until"))
)

_IDS = (
    select(lease.c.id, lease.c.ids).where(one_of(lease.c.id, "fences")).order_by(lease.c.id).with_for_update()
)
_HELD = (
    select(message.c.id)
    .where(one_of(message.c.id, "ids"), message.c.fence == bindparam("fence"), HELD)
    .limit(1)
)
_CLOSE = delete(lease).where(one_of(lease.c.id, "fences"))

_HOW_MANY_OVER = select(func.count()).where(lease.c.until <= bindparam("now"))
_ABANDON = (
    update(lease).where(lease.c.id.in_(_locked(lease.c.worker == bindparam("owner")))).values(until=0.0)
)


class Slices:
    """Each call is one transaction. The functions it calls are shared with ``writer.GroupCommit``, which puts
    many calls into one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, ids: Sequence[int], worker: str, lease_seconds: float) -> Slice:
        """Claims what of ``ids`` waits, is due, and belongs to the same running campaign as the first of
        them; the rest is left alone. Without any such row, the slice is empty and its fence 0."""
        with self._database.write() as tx:
            return claim(tx, ids, worker, lease_seconds)

    def mark(self, marks: Sequence[tuple[int, int]]) -> list[bool]:
        """For each (id, fence): True when the row is now SENDING, durably. It counts while the fence is
        current, the row CLAIMED, the lease not over and the campaign running. Never True twice."""
        with self._database.write() as tx:
            return mark(tx, marks)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """For each: whether it counted. It needs the current fence and a row that is CLAIMED or SENDING; one
        that became UNKNOWN meanwhile is settled by a spent attempt only. UNKNOWN needs SENDING. A row given
        back to a cancelled campaign becomes CANCELLED, and counts."""
        with self._database.write() as tx:
            return settle(tx, settlements)

    def heartbeat(self, fences: Sequence[int], lease_seconds: float) -> None:
        """These leases last ``lease_seconds`` from now; those that have run out stay so."""
        with self._database.write() as tx:
            tx.run(_RENEW, fences=tx.array(fences), now=tx.now, new_until=tx.now + lease_seconds)

    def close(self, fences: Sequence[int]) -> None:
        """These slices are done. One with rows in flight stays, and is recovered when its time is over."""
        with self._database.write() as tx:
            done = [fence for fence, ids in tx.rows(_IDS, fences=tx.array(fences)) if _done(tx, fence, ids)]
            tx.run(_CLOSE, fences=tx.array(done))

    def recover(self) -> Recovery:
        """Rows of leases that have run out: unsent ones wait again, those in SENDING become UNKNOWN, or wait
        again where ``on_unknown`` is "retry"."""
        total = Recovery()
        while self._over():
            with self._database.write() as tx:
                found = recover(tx)
            if not found.leases:  # somebody else was quicker
                break
            total = Recovery(
                total.leases + found.leases,
                total.returned + found.returned,
                total.unknown + found.unknown,
                total.retried + found.retried,
            )
        return total

    def abandon(self, worker: str) -> None:
        """This worker is gone: its leases are over. ``recover`` then judges their rows."""
        with self._database.write() as tx:
            tx.run(_ABANDON, owner=worker)

    def take_back(self, *workers: str) -> None:
        """These workers are gone, and what they held is judged at once, not when its leases end."""
        for worker in workers:
            self.abandon(worker)
        self.recover()

    def _over(self) -> bool:
        """Asked once a second by every pump, so without the right to write."""
        with self._database.read() as connection:
            return bool(connection.execute(_HOW_MANY_OVER, {"now": self._database.now(connection)}).scalar())


def _done(tx: Transaction, fence: int, ids: Any) -> bool:
    return not tx.rows(_HELD, ids=ids, fence=fence)
