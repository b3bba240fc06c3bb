"""Backends that a person has stopped, and the campaigns that wait for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import ColumnElement, and_, delete, exists, select, update

from mailer.ledger.contract import CampaignState, PausedBackend
from mailer.ledger.database import Database
from mailer.ledger.dialect import Room
from mailer.ledger.schema import campaign, paused_backend
from mailer.ledger.transaction import Transaction

#: Why a route stands still that nobody has paused by its name.
ALL_PAUSED = "each of its backends is paused"


class Backends:
    """Names are those that campaigns use; none has to be known here before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def paused(self) -> frozenset[str]:
        """Names that no worker may use now. One small read: for every second, not for every message."""
        return frozenset(one.name for one in self.list())

    def list(self) -> list[PausedBackend]:
        """Those that are paused, by name."""
        with self._database.read() as connection:
            found = connection.execute(select(paused_backend).order_by(paused_backend.c.name))
            return [PausedBackend(*row) for row in found]

    def pause(self, name: str, reason: str) -> bool:
        """Its campaigns wait, and that time does not count against their retry budgets (I10). False: it was
        paused already, and keeps its first reason."""
        with self._database.write() as tx:
            tx.alone(Room.STEERING)
            new = tx.dialect.insert_new(
                tx.cursor, paused_backend.name, ("name", "since", "reason"), [(name, tx.now, reason)]
            )
            halt(tx, campaign.c.backend == name)
        return new > 0

    def resume(self, name: str) -> bool:
        """False when it was not paused."""
        with self._database.write() as tx:
            tx.alone(Room.STEERING)
            gone = tx.execute(delete(paused_backend).where(paused_backend.c.name == name)).rowcount
            unhalt(tx, campaign.c.backend == name)
        return gone > 0

    def follow(self, routes: Mapping[str, Collection[str]]) -> None:
        """Pause the routes of whose backends each is paused, and let go of those of which one was resumed.

        Costs a small read when nothing has changed.
        """
        reasons = {one.name: one.reason for one in self.list()}
        for route, backends in routes.items():
            if reasons.keys() >= set(backends):
                if route not in reasons:
                    self.pause(route, ALL_PAUSED)
            elif reasons.get(route) == ALL_PAUSED:
                self.resume(route)


_RUNNING = campaign.c.state == CampaignState.RUNNING.value
_ITS_BACKEND_IS_PAUSED = exists().where(paused_backend.c.name == campaign.c.backend)


def halt(tx: Transaction, *which: ColumnElement[bool]) -> None:
    """From now on, time does not count for those of these campaigns that run."""
    these = (_RUNNING, campaign.c.halted_since.is_(None), *which)
    tx.execute(update(campaign).where(and_(*these)).values(halted_since=tx.now))


def unhalt(tx: Transaction, *which: ColumnElement[bool]) -> None:
    """Time counts again for those that run."""
    halted = tx.now - campaign.c.halted_since
    these = (_RUNNING, campaign.c.halted_since.is_not(None), *which)
    tx.execute(
        update(campaign)
        .where(and_(*these))
        .values(blocked_seconds=campaign.c.blocked_seconds + halted, halted_since=None)
    )


def follow_backend(tx: Transaction, ids: Iterable[int]) -> None:
    """After these campaigns began to run, or got another backend: does it stand still?"""
    these = campaign.c.id.in_(list(ids))
    unhalt(tx, these, ~_ITS_BACKEND_IS_PAUSED)
    halt(tx, these, _ITS_BACKEND_IS_PAUSED)
