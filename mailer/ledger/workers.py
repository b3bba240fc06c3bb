"""What is known about the workers, and about all rows at once: for ``mailer doctor`` and for metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select

from mailer.ledger.contract import CampaignState
from mailer.ledger.database import Database
from mailer.ledger.schema import LATER, ROWS, bucket, campaign, lease, message, tally

#: Workers sign where limits are remembered; no limit has such a key.
_PREFIX = "worker:"

_ROWS = (
    select(campaign.c.backend, tally.c.state, ROWS)
    .join(campaign, campaign.c.id == tally.c.campaign_id)
    .group_by(campaign.c.backend, tally.c.state)
)
_EXPIRED = select(func.count()).select_from(lease).where(lease.c.until <= bindparam("now"))
#: Not those whose backend a person has paused: they are meant to wait.
_RUNNING = select(campaign.c.id, campaign.c.started_at).where(
    campaign.c.state == CampaignState.RUNNING.value, campaign.c.halted_since.is_(None)
)
_FRESH = (
    select(tally.c.n).where(tally.c.campaign_id == bindparam("campaign"), tally.c.state == "pending").limit(1)
)
_OLDEST = select(func.min(message.c.due_at)).where(
    message.c.campaign_id == bindparam("campaign"), LATER, message.c.due_at <= bindparam("now")
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A worker's last sign of life. ``ago`` and ``clock_ahead`` are seconds, by the ledger's clock."""

    name: str
    ago: float
    clock_ahead: float
    facts: Mapping[str, Any]


class Workers:
    """Reads are cheap: tallies and indexes, however many rows there are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sign(self, name: str, facts: Mapping[str, Any]) -> None:
        """``facts`` are JSON, with the worker's own time as ``clock``, and ``process`` for ``withdraw``."""
        key = _PREFIX + name
        with self._database.write() as tx:
            tx.execute(delete(bucket).where(bucket.c.key == key))
            memory = json.dumps({**facts, "at": tx.now})
            tx.execute(insert(bucket).values(key=key, memory=memory))

    def withdraw(self, name: str, process: str) -> None:
        """It ends as it was told to, and nobody need miss it. What another ``process`` has signed with the
        same name stays."""
        own = bucket.c.key == _PREFIX + name
        with self._database.write() as tx:
            memory = tx.execute(select(bucket.c.memory).where(own)).scalar()
            if memory is not None and json.loads(memory).get("process") == process:
                tx.execute(delete(bucket).where(own))

    def signed(self) -> list[Signed]:
        """Every worker that signed and was not told to end, by name."""
        found = select(bucket.c.key, bucket.c.memory).where(bucket.c.key.startswith(_PREFIX, autoescape=True))
        with self._database.read() as connection:
            rows = connection.execute(found.order_by(bucket.c.key)).all()
        now = self._database.clock()
        return [_signed(key, json.loads(memory), now) for key, memory in rows]

    def rows(self) -> dict[tuple[str, str], int]:
        """How many rows of all campaigns, by backend and state."""
        with self._database.read() as connection:
            return {(backend, state): int(n) for backend, state, n in connection.execute(_ROWS)}

    def expired_leases(self) -> int:
        """Leases that ran out and that nobody has recovered yet."""
        with self._database.read() as connection:
            return connection.execute(_EXPIRED, {"now": self._database.clock()}).scalar_one()

    def oldest_due(self) -> float:
        """For how many seconds the row that waits longest has been due; 0 when nothing waits. A fresh row
        of a running campaign is due since its start; one whose backend a person has paused is not due."""
        now = self._database.clock()
        oldest = now
        with self._database.read() as connection:
            for campaign_id, started_at in connection.execute(_RUNNING).all():
                about = {"campaign": campaign_id, "now": now}
                due = connection.execute(_OLDEST, about).scalar()
                fresh = connection.execute(_FRESH, about).scalar()
                moments = [oldest, due, started_at if fresh else None]
                oldest = min(moment for moment in moments if moment is not None)
        return max(0.0, now - oldest)


def _signed(key: str, facts: dict[str, Any], now: float) -> Signed:
    at = float(facts.pop("at"))
    return Signed(key.removeprefix(_PREFIX), now - at, float(facts.pop("clock")) - at, facts)
