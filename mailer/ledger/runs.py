"""Which campaigns a command runs right now, where processes do not share a file system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select

from mailer.errors import StateConflict
from mailer.ledger.database import Database
from mailer.ledger.dialect import Room
from mailer.ledger.schema import lease


def being_sent(by: str) -> StateConflict:
    return StateConflict(
        f"{by} is sending this campaign right now; `mailer status` shows how far it is,"
        " `mailer pause` stops it"
    )


class Runs:
    """For a ledger that is no file; beside a file, files are locked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def hold(self, campaign_id: int) -> Iterator[tuple[str, ...]]:
        """The campaign is this process's to run until then, or until it dies. Gives the names of workers that
        hold leases on its rows. Raises StateConflict while another process runs it."""
        with self._database.dialect.hold(Room.RUN, campaign_id) as got:
            if not got:
                other = self.holder(campaign_id) or "another process"
                raise being_sent(other)
            yield self._workers(campaign_id)

    def holder(self, campaign_id: int) -> str | None:
        """``host:pid`` of who runs it."""
        with self._database.read() as connection:
            return self._database.dialect.holder(connection, Room.RUN, campaign_id)

    def _workers(self, campaign_id: int) -> tuple[str, ...]:
        own = select(lease.c.worker).where(lease.c.campaign_id == campaign_id).distinct()
        with self._database.read() as connection:
            return tuple(connection.execute(own).scalars())
