"""What the pump asks: who leads, what runs, what is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Integer, bindparam, delete, func, literal_column, select, update

from mailer.errors import StateConflict
from mailer.ledger.backends import follow_backend
from mailer.ledger.campaigns import Campaigns
from mailer.ledger.contract import Campaign, CampaignState, Event, Runner, row_id
from mailer.ledger.database import Database
from mailer.ledger.rows import tallied
from mailer.ledger.schema import LATER, WAITING, campaign, leader, message, meta
from mailer.ledger.statements import one_of
from mailer.message import FINAL, State

_ALIVE = (CampaignState.RUNNING, CampaignState.SCHEDULED)

#: A start that was missed by more than this waits for a person, unless another time is set.
MISFIRE_SECONDS = 3600.0
#: Why it is paused then.
MISSED = "its start was missed: nothing ran at that time; `mailer resume` starts it now"

_OWN = message.c.campaign_id == bindparam("campaign")
_PAST = message.c.due_at <= bindparam("now")
_AT_ONCE = message.c.due_at == literal_column("0")

_FIRST_LANE = select(func.min(message.c.lane)).where(_OWN, WAITING)
_lanes = select(_FIRST_LANE.scalar_subquery().label("lane")).cte("lanes", recursive=True)
_lanes = _lanes.union_all(
    select(_FIRST_LANE.where(message.c.lane > _lanes.c.lane).scalar_subquery()).where(
        _lanes.c.lane.is_not(None)
    )
)
_DUE_IN_LANE = (
    select(literal_column("1", Integer))
    .where(_OWN, WAITING, _PAST, message.c.lane == _lanes.c.lane)
    .limit(1)
    .correlate(_lanes)
)
#: One step in the index per lane; DISTINCT would walk over every waiting row, and so would PostgreSQL for an
#: EXISTS, of which it makes a join.
_LANES = select(_lanes.c.lane).where(_DUE_IN_LANE.scalar_subquery().is_not(None))

#: Rows given back or deferred come before fresh ones: they are few, and their time has come.
_LATER = select(message.c.id).where(_OWN, LATER, _PAST).order_by(message.c.due_at).limit(bindparam("limit"))
_LATER_IN_LANE = (
    select(message.c.id)
    .where(_OWN, WAITING, message.c.lane == bindparam("lane"), message.c.due_at > literal_column("0"), _PAST)
    .order_by(message.c.due_at)
    .limit(bindparam("limit"))
)
#: As the index has them, which is the order in which they came; to ask for it would sort the whole lane.
_FRESH_IN_LANE = (
    select(message.c.id)
    .where(_OWN, WAITING, message.c.lane == bindparam("lane"), _AT_ONCE)
    .limit(bindparam("limit"))
)
#: In the order of the input.
_FRESH = (
    select(message.c.id)
    .where(message.c.id >= bindparam("front"), message.c.id < bindparam("end"), WAITING, _AT_ONCE)
    .order_by(message.c.id)
    .limit(bindparam("limit"))
)
_LEFT_BEHIND = select(message.c.id).where(_OWN, WAITING, _AT_ONCE).limit(bindparam("limit"))
_WAITING_FOR = select(message.c.id, message.c.due_at).where(one_of(message.c.id, "ids"), WAITING)
_NEXT_DUE = select(func.min(message.c.due_at)).where(_OWN, LATER, message.c.due_at > bindparam("now"))


class Schedule:
    """Reads are cheap and may be stale; only a claim decides."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._campaigns = Campaigns(database)
        self._fronts: dict[int, int] = {}

    # Who, and which campaigns.

    def lead(self, name: str, worker: str, seconds: float) -> bool:
        """Take or renew the lease of this name. False: another worker has it, and it has not run out."""
        with self._database.write() as tx:
            mine = leader.c.worker == worker
            tx.execute(delete(leader).where(leader.c.name == name, mine | (leader.c.until <= tx.now)))
            row = (name, worker, tx.now + seconds)
            return tx.dialect.insert_new(tx.cursor, leader.name, ("name", "worker", "until"), [row]) == 1

    def resign(self, name: str, worker: str) -> None:
        """The next one may lead at once."""
        with self._database.write() as tx:
            tx.execute(delete(leader).where(leader.c.name == name, leader.c.worker == worker))

    def runnable(self, runner: Runner, misfire_after: float = MISFIRE_SECONDS) -> list[Campaign]:
        """Campaigns that run now, by priority and age. Scheduled ones whose time has come are started; one
        whose time passed more than ``misfire_after`` seconds ago is paused, and waits for a person."""
        found = [one for one in self._campaigns.in_states(_ALIVE) if one.runner is runner]
        now = self._database.clock() if any(one.state is CampaignState.SCHEDULED for one in found) else 0.0
        due = [one for one in found if one.state is CampaignState.SCHEDULED and (one.start_at or 0) <= now]
        if due:
            self._begin(due, now - misfire_after)
            return self.runnable(runner, misfire_after)
        running = [one for one in found if one.state is CampaignState.RUNNING]
        return sorted(running, key=lambda one: -one.priority)

    def finish(self, campaign_id: int) -> bool:
        """True: it was running, nothing of it waits or is in flight, and it is FINISHED now."""
        running = campaign.c.state == CampaignState.RUNNING.value
        done = update(campaign).where(campaign.c.id == campaign_id, running)
        with self._database.read() as connection:  # mostly it is not over, and that costs no lock
            if _goes_on(tallied(connection, campaign_id)):
                return False
        with self._database.write(campaign_id) as tx:
            if _goes_on(tallied(tx.connection, campaign_id)):
                return False
            values = {
                "state": CampaignState.FINISHED.value,
                "finished_at": tx.now,
                "halted_since": None,
                "event": Event.FINISHED.value,
            }
            return tx.execute(done.values(values)).rowcount == 1

    def _begin(self, due: Sequence[Campaign], earliest: float) -> None:
        missed = [one for one in due if one.start_at is not None and one.start_at < earliest]
        for one in missed:
            with suppress(StateConflict):  # a person was quicker
                self._campaigns.pause(one.id, MISSED)
        on_time = [one.id for one in due if one not in missed]
        if on_time:
            self._start(on_time)

    def _start(self, ids: Sequence[int]) -> None:
        with self._database.write(*ids) as tx:
            tx.execute(
                update(campaign)
                .where(campaign.c.id.in_(ids), campaign.c.state == CampaignState.SCHEDULED.value)
                .values(
                    state=CampaignState.RUNNING.value,
                    started_at=func.coalesce(campaign.c.started_at, tx.now),
                )
            )
            follow_backend(tx, ids)

    # Which rows.

    def lanes(self, campaign_id: int) -> list[str]:
        """Those with due rows. One index step each: cheap for dozens, 0.3 s for a hundred thousand."""
        return self._column(_LANES, campaign=campaign_id)

    def due(self, campaign_id: int, lane: str | None, limit: int) -> list[int]:
        """Up to ``limit`` rows that are due, of one lane or of all: first those whose time has come, then
        fresh ones in the order of the input."""
        about = {"campaign": campaign_id, "lane": lane}
        later = self._column(_LATER if lane is None else _LATER_IN_LANE, **about, limit=limit)
        left = limit - len(later)
        if not left:
            return later
        if lane is None:
            return later + self._fresh(campaign_id, left)
        return later + self._column(_FRESH_IN_LANE, **about, limit=left)

    def next_due(self, campaign_id: int) -> float | None:
        """When the next row falls due that is not due yet."""
        found: list[float | None] = self._column(_NEXT_DUE, campaign=campaign_id)
        return found[0]

    def waiting_for(self, ids: Sequence[int]) -> dict[int, float]:
        """Those that nobody holds, with the seconds that they have been due. A row that was claimed and
        given back is due since then."""
        with self._database.read() as connection:
            rows = connection.execute(_WAITING_FOR, {"ids": self._database.dialect.array(ids)}).all()
            now = self._database.now(connection)
        return {id_: now - due_at for id_, due_at in rows}

    def _fresh(self, campaign_id: int, limit: int) -> list[int]:
        """The primary key is walked from the first row that was fresh at the last look; the few that became
        fresh again behind it (``retry``) are found by the index, when the walk ends. Walking the index alone
        would send lane after lane, and not as the list has them."""
        front, end = self._fronts.get(campaign_id, row_id(campaign_id, 0)), row_id(campaign_id + 1, 0)
        found = self._column(_FRESH, front=front, end=end, limit=limit)
        if len(found) < limit:
            return self._column(_LEFT_BEHIND, campaign=campaign_id, limit=limit)
        self._fronts[campaign_id] = found[0]
        return found

    def _column(self, statement: Any, **parameters: Any) -> list[Any]:
        with self._database.read() as connection:
            parameters["now"] = self._database.now(connection)
            # All at once: row by row it takes a third longer for some thousand ids.
            return list(connection.execute(statement, parameters).scalars().all())

    # Has the ledger been restored from a backup? (I9)

    def epoch(self) -> int:
        """Starts with the milliseconds of creation, so a new ledger is never below one that it replaces."""
        return sum(self._column(select(meta.c.value).where(meta.c.key == "epoch")))

    def raise_epoch(self) -> int:
        """Durably one more than before."""
        with self._database.write() as tx:
            raised = update(meta).where(meta.c.key == "epoch").values(value=meta.c.value + 1)
            value: int = tx.execute(raised.returning(meta.c.value)).scalar_one()
            return value


def _goes_on(counts: Mapping[State, int]) -> bool:
    return any(n for state, n in counts.items() if state not in FINAL)
