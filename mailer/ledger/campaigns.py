"""Campaigns: opened once, found, counted, and moved from state to state."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from mailer.errors import InputError, StateConflict
from mailer.ledger import rows
from mailer.ledger.contract import (
    Campaign,
    CampaignState,
    Counts,
    NewCampaign,
    NewRow,
    Runner,
    ordinal_of,
    row_id,
)
from mailer.ledger.database import Database, Transaction
from mailer.ledger.schema import campaign, message, tally
from mailer.message import IN_FLIGHT, State

#: What somebody may do who wants another state.
_ADVICE = {
    CampaignState.OPENING: "its opening was interrupted: the same `mailer send` goes on with it",
    CampaignState.SCHEDULED: "it has not started yet",
    CampaignState.RUNNING: "`mailer pause` stops it",
    CampaignState.PAUSED: "`mailer resume` goes on with it",
    CampaignState.FINISHED: "`mailer retry` tries again what did not go",
    CampaignState.CANCELLED: "there is no way back from that; `mailer send --again` starts anew",
}

_TOTAL = (
    select(func.coalesce(func.sum(tally.c.n), 0))
    .where(tally.c.campaign_id == campaign.c.id)
    .scalar_subquery()
)

_COLUMNS = [_TOTAL if name == "total" else campaign.c[name] for name in Campaign.__dataclass_fields__]

_UNDER_WAY = (CampaignState.OPENING, CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)


class Campaigns:
    """Each call is one transaction. Asked for the impossible, it raises StateConflict, which says what to do;
    an unknown id or reference raises InputError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Opening.

    def create(self, new: NewCampaign) -> Campaign:
        """In state OPENING. One of the same digest whose opening was interrupted is returned instead (I6).
        A slug that is taken raises StateConflict."""
        values = {name: getattr(new, name) for name in new.__dataclass_fields__}
        values |= {"spec": json.dumps(dict(new.spec)), "state": CampaignState.OPENING.value}
        values["runner"] = new.runner.value
        with self._database.write() as tx:
            opening = _where(
                tx.connection,
                campaign.c.digest == new.digest,
                campaign.c.state == CampaignState.OPENING.value,
            )
            if opening:
                return opening[-1]
            if _where(tx.connection, campaign.c.slug == new.slug):
                raise StateConflict(f"there is a campaign {new.slug!r} already: give this one another name")
            made = tx.execute(insert(campaign).values(created_at=tx.now, **values).returning(campaign.c.id))
            campaign_id: int = made.scalar_one()
            tx.execute(
                insert(tally).values([{"campaign_id": campaign_id, "state": s.value, "n": 0} for s in State])
            )
            return _one(tx.connection, campaign_id)

    def add_rows(self, campaign_id: int, new_rows: Iterable[NewRow]) -> int:
        """How many of the rows were new. An ordinal that is there already is left as it is, so this may be
        killed and run again. A transaction per few thousand rows, memory stays flat."""
        return sum(rows.add(self._database, campaign_id, page) for page in rows.pages(new_rows))

    def opened(self, campaign_id: int, invalid_rows: int) -> Campaign:
        """Every row is in: from OPENING it runs, or waits for its time. A finished one to which rows were
        added runs again; one that is running or paused stays so."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _check(found, "open", *_UNDER_WAY, CampaignState.FINISHED)
            state = found.state
            again = state is CampaignState.FINISHED and rows.waiting(tx, campaign_id)
            if state is CampaignState.OPENING or again:
                later = found.start_at is not None and found.start_at > tx.now
                state = CampaignState.SCHEDULED if later else CampaignState.RUNNING
            _change(tx, found, state, invalid_rows=invalid_rows, **_clock(tx, found, state))
            return _one(tx.connection, campaign_id)

    def set_backend(self, campaign_id: int, backend: str) -> None:
        """What is not sent yet goes through this backend; rows keep the name of the one that had them."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _change(tx, found, found.state, backend=backend)

    def set_runner(self, campaign_id: int, runner: Runner) -> None:
        """Hand it to the workers, or take it back."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _change(tx, found, found.state, runner=runner.value)

    # Finding and counting.

    def get(self, ref: str) -> Campaign:
        """By slug, or a unique beginning of it. Raises InputError that names the candidates."""
        with self._database.read() as connection:
            found = _where(connection, campaign.c.slug == ref) or _where(
                connection, campaign.c.slug.startswith(ref, autoescape=True)
            )
            if len(found) == 1 and ref:
                return found[0]
            latest = select(campaign.c.slug).order_by(campaign.c.id.desc()).limit(10)
            slugs = [one.slug for one in found] or list(connection.execute(latest).scalars())
        if found:
            raise InputError(f"{ref!r} is the beginning of several campaigns: {', '.join(slugs[:10])}")
        hint = f"There is: {', '.join(slugs)}" if slugs else "There is none in this ledger yet."
        raise InputError(f"no campaign {ref!r}", hint=hint)

    def by_id(self, campaign_id: int) -> Campaign:
        with self._database.read() as connection:
            return _one(connection, campaign_id)

    def by_digest(self, digest: str) -> list[Campaign]:
        """Oldest first."""
        with self._database.read() as connection:
            return _where(connection, campaign.c.digest == digest)

    def in_states(self, states: Collection[CampaignState]) -> list[Campaign]:
        """Oldest first."""
        with self._database.read() as connection:
            return _where(connection, campaign.c.state.in_([state.value for state in states]))

    def list(self) -> list[Campaign]:
        """All, oldest first."""
        with self._database.read() as connection:
            return _where(connection)

    def state(self, campaign_id: int) -> CampaignState:
        statement = select(campaign.c.state).where(campaign.c.id == campaign_id)
        with self._database.read() as connection:
            return CampaignState(connection.execute(statement).scalar_one())

    def counts(self, campaign_id: int) -> Counts:
        """Exact, and as fast for a million rows as for ten."""
        with self._database.read() as connection:
            return Counts(dict.fromkeys(State, 0) | rows.tallied(connection, campaign_id))

    def in_flight(self, campaign_id: int) -> int:
        """Rows that a worker holds and may still send."""
        states = self.counts(campaign_id).states
        return sum(states[state] for state in IN_FLIGHT)

    def max_ordinal(self, campaign_id: int) -> int:
        """0 without rows."""
        own = message.c.id.between(row_id(campaign_id, 0), row_id(campaign_id + 1, 0) - 1)
        with self._database.read() as connection:
            last = connection.execute(select(func.max(message.c.id)).where(own)).scalar()
            return 0 if last is None else ordinal_of(last)

    # From state to state.

    def pause(self, campaign_id: int, reason: str) -> None:
        """From here on only what is SENDING finishes. One that is paused keeps its first reason."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _check(found, "pause", CampaignState.RUNNING, CampaignState.SCHEDULED, CampaignState.PAUSED)
            if found.state is not CampaignState.PAUSED:
                _change(tx, found, CampaignState.PAUSED, reason=reason, halted_since=tx.now)

    def resume(self, campaign_id: int) -> None:
        """The time it was halted does not count against retry budgets (I10)."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _check(found, "resume", CampaignState.PAUSED)
            later = found.started_at is None and (found.start_at or 0.0) > tx.now
            state = CampaignState.SCHEDULED if later else CampaignState.RUNNING
            _change(tx, found, state, reason=None, **_clock(tx, found, state), **_unhalted(tx, found))

    def cancel(self, campaign_id: int) -> None:
        """Every waiting row becomes CANCELLED now; what a worker gives back later does too."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _check(found, "cancel", *_UNDER_WAY, CampaignState.CANCELLED)
            if found.state is not CampaignState.CANCELLED:
                rows.cancel(tx, campaign_id)
                _change(tx, found, CampaignState.CANCELLED, finished_at=tx.now, **_unhalted(tx, found))

    def retry(self, campaign_id: int, states: Collection[State]) -> int:
        """Rows in these final states wait again, with a fresh budget; their last try goes into the history.
        A finished campaign runs again. Raises ValueError for a state that must not be sent again."""
        with self._database.write() as tx:
            found = _one(tx.connection, campaign_id)
            _check(found, "retry", *_UNDER_WAY[1:], CampaignState.FINISHED)
            again = rows.retry(tx, campaign_id, states)
            if again and found.state is CampaignState.FINISHED:
                _change(tx, found, CampaignState.RUNNING, finished_at=None)
            return again


def campaign_from(row: Any) -> Campaign:
    values = dict(zip(Campaign.__dataclass_fields__, row, strict=True))
    values["spec"] = json.loads(values["spec"])
    values["runner"] = Runner(values["runner"])
    values["state"] = CampaignState(values["state"])
    return Campaign(**values)


def _where(connection: Connection, *conditions: ColumnElement[bool]) -> list[Campaign]:
    statement = select(*_COLUMNS).where(*conditions).order_by(campaign.c.id)
    return [campaign_from(row) for row in connection.execute(statement)]


def _one(connection: Connection, campaign_id: int) -> Campaign:
    found = _where(connection, campaign.c.id == campaign_id)
    if not found:
        raise InputError(f"no campaign number {campaign_id} in this ledger")
    return found[0]


def _check(found: Campaign, action: str, *allowed: CampaignState) -> None:
    if found.state not in allowed:
        raise StateConflict(f"cannot {action} {found.slug}: it is {found.state}; {_ADVICE[found.state]}")


def _change(tx: Transaction, found: Campaign, state: CampaignState, **values: Any) -> None:
    tx.execute(update(campaign).where(campaign.c.id == found.id).values(state=state.value, **values))


def _clock(tx: Transaction, found: Campaign, state: CampaignState) -> dict[str, Any]:
    """A campaign that runs has started, and is not finished."""
    if state is not CampaignState.RUNNING:
        return {}
    return {"started_at": tx.now if found.started_at is None else found.started_at, "finished_at": None}


def _unhalted(tx: Transaction, found: Campaign) -> dict[str, Any]:
    halted = 0.0 if found.halted_since is None else max(0.0, tx.now - found.halted_since)
    return {"blocked_seconds": found.blocked_seconds + halted, "halted_since": None}
