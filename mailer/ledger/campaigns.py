"""Campaigns: opened once, found, counted, and changed while they run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select

from mailer.errors import InputError, StateConflict
from mailer.ledger import contents, rows, steering
from mailer.ledger.contract import (
    Campaign,
    CampaignState,
    Counts,
    NewCampaign,
    NewRow,
    Retried,
    Runner,
    ordinal_of,
)
from mailer.ledger.database import Database
from mailer.ledger.dialect import Room
from mailer.ledger.reading import campaign_by_id, campaigns_where
from mailer.ledger.schema import REFUSED_BY_POLICY, campaign, message, tally
from mailer.message import IN_FLIGHT, State


class Campaigns:
    """Each call is one transaction. Asked for the impossible, it raises StateConflict, which says what to do;
    an unknown id or reference raises InputError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Opening.

    def create(self, new: NewCampaign, made_of: Mapping[str, bytes] = contents.NOTHING) -> Campaign:
        """In state OPENING, with the contents that its spec names. One of the same digest whose opening was
        interrupted is returned instead (I6). A slug that is taken raises StateConflict."""
        values = {name: getattr(new, name) for name in new.__dataclass_fields__}
        values |= {"spec": json.dumps(dict(new.spec)), "state": CampaignState.OPENING.value}
        values["runner"] = new.runner.value
        with self._database.write() as tx:
            tx.alone(Room.OPENING)  # what is looked for here, nobody else opens meanwhile
            contents.keep(tx, made_of)
            opening = campaigns_where(
                tx.connection,
                campaign.c.digest == new.digest,
                campaign.c.state == CampaignState.OPENING.value,
            )
            if opening:
                return opening[-1]
            if campaigns_where(tx.connection, campaign.c.slug == new.slug):
                raise StateConflict(f"there is a campaign {new.slug!r} already: give this one another name")
            made = tx.execute(insert(campaign).values(created_at=tx.now, **values).returning(campaign.c.id))
            campaign_id: int = made.scalar_one()
            tx.execute(
                insert(tally).values(
                    [
                        {"campaign_id": campaign_id, "state": state.value, "slot": slot, "n": 0}
                        for state in State
                        for slot in range(tx.dialect.slots)
                    ]
                )
            )
            return campaign_by_id(tx.connection, campaign_id)

    def add_rows(self, campaign_id: int, new_rows: Iterable[NewRow]) -> int:
        """How many of the rows were new. An ordinal that is there already is left as it is, so this may be
        killed and run again. A transaction per few thousand rows, memory stays flat."""
        return rows.add(self._database, campaign_id, new_rows)

    def opened(self, campaign_id: int, invalid_rows: int) -> Campaign:
        """Every row is in: from OPENING it runs, or waits for its time. A finished one to which rows were
        added runs again; one that is running or paused stays so."""
        with self._database.write(campaign_id) as tx:
            steering.open_up(tx, campaign_id, invalid_rows)
            return campaign_by_id(tx.connection, campaign_id)

    # What and how they send. Each change raises the revision, by which workers notice it.

    def set_backend(
        self, campaign_id: int, backend: str, knows_keys: Mapping[str, Any] | None = None
    ) -> None:
        """What is not sent yet goes through this backend; rows keep the name of the one that had them.
        ``knows_keys`` is what the wiring says about it; it counts for what is claimed from now on."""
        with self._database.write(campaign_id) as tx:
            steering.set_backend(tx, campaign_id, backend, knows_keys)

    def set_rates(self, campaign_id: int, rates: Sequence[str]) -> None:
        """The campaign's own limits; none: only those of its backend."""
        with self._database.write(campaign_id) as tx:
            steering.set_rates(tx, campaign_id, rates)

    def set_priority(self, campaign_id: int, priority: int) -> None:
        with self._database.write(campaign_id) as tx:
            steering.set_priority(tx, campaign_id, priority)

    def schedule(self, campaign_id: int, start_at: float | None) -> None:
        """Another time for one that has not started; None, or a time that has passed: now."""
        with self._database.write(campaign_id) as tx:
            steering.schedule(tx, campaign_id, start_at)

    def correct(
        self, campaign_id: int, changes: Mapping[str, Any], made_of: Mapping[str, bytes] = contents.NOTHING
    ) -> None:
        """Put these keys into the spec of a paused campaign of which nothing is in flight, and raise its
        version: rows record with which one they were sent. ``made_of`` as for ``create``."""
        with self._database.write(campaign_id) as tx:
            tx.alone(Room.OPENING)
            contents.keep(tx, made_of)
            steering.correct(tx, campaign_id, changes)

    def set_runner(self, campaign_id: int, runner: Runner) -> None:
        """Hand it to the workers, or take it back."""
        with self._database.write(campaign_id) as tx:
            steering.set_runner(tx, campaign_id, runner)

    # Finding and counting.

    def get(self, ref: str) -> Campaign:
        """By slug, a unique beginning of it, or its number. Raises InputError that names the candidates."""
        with self._database.read() as connection:
            found = (
                campaigns_where(connection, campaign.c.slug == ref)
                or campaigns_where(connection, campaign.c.slug.startswith(ref, autoescape=True))
                or _numbered(connection, ref)
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
            return campaign_by_id(connection, campaign_id)

    def by_digest(self, digest: str) -> list[Campaign]:
        """Oldest first."""
        with self._database.read() as connection:
            return campaigns_where(connection, campaign.c.digest == digest)

    def in_states(self, states: Collection[CampaignState]) -> list[Campaign]:
        """Oldest first."""
        with self._database.read() as connection:
            return campaigns_where(connection, campaign.c.state.in_([state.value for state in states]))

    def list(self) -> list[Campaign]:
        """All, oldest first."""
        with self._database.read() as connection:
            return campaigns_where(connection)

    def state(self, campaign_id: int) -> CampaignState:
        statement = select(campaign.c.state).where(campaign.c.id == campaign_id)
        with self._database.read() as connection:
            return CampaignState(connection.execute(statement).scalar_one())

    def revision(self, campaign_id: int) -> int:
        """Cheaper than the whole campaign."""
        statement = select(campaign.c.revision).where(campaign.c.id == campaign_id)
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def counts(self, campaign_id: int) -> Counts:
        """Exact, and as fast for a million rows as for ten."""
        with self._database.read() as connection:
            return Counts(dict.fromkeys(State, 0) | rows.tallied(connection, campaign_id))

    def refused_by_policy(self, campaign_id: int, since: float) -> int:
        """Rows refused since then for what the sender is or writes (5.7.x)."""
        these = (message.c.campaign_id == campaign_id, REFUSED_BY_POLICY, message.c.settled_at >= since)
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).where(*these)).scalar_one())

    def in_flight(self, campaign_id: int) -> int:
        """Rows that a worker holds: on their way, or about to be."""
        states = self.counts(campaign_id).states
        return sum(states[state] for state in IN_FLIGHT)

    def max_ordinal(self, campaign_id: int) -> int:
        """0 without rows."""
        own = message.c.id.between(*rows.first_and_last(campaign_id))
        with self._database.read() as connection:
            last = connection.execute(select(func.max(message.c.id)).where(own)).scalar()
            return 0 if last is None else ordinal_of(last)

    # From state to state.

    def pause(self, campaign_id: int, reason: str, *, by_person: bool = False) -> None:
        """From here on only what is SENDING finishes. One that is paused keeps its first reason. Unless a
        person did it, somebody has to be told."""
        with self._database.write(campaign_id) as tx:
            steering.pause(tx, campaign_id, reason, by_person=by_person)

    def resume(self, campaign_id: int) -> None:
        """The time it was halted does not count against retry budgets (I10)."""
        with self._database.write(campaign_id) as tx:
            steering.resume(tx, campaign_id)

    def cancel(self, campaign_id: int) -> None:
        """Every waiting row becomes CANCELLED now; what a worker gives back later does too."""
        with self._database.write(campaign_id) as tx:
            steering.cancel(tx, campaign_id)

    def retry(self, campaign_id: int, states: Collection[State]) -> Retried:
        """Rows in these final states wait again, with a fresh budget; their last try goes into the history,
        and suppressions that their refusal made are lifted. A finished campaign runs again. Raises
        ValueError for a state that must not be sent again."""
        with self._database.write(campaign_id) as tx:
            return steering.retry(tx, campaign_id, states)


def _numbered(connection: Connection, ref: str) -> list[Campaign]:
    """Logs know no slug."""
    return campaigns_where(connection, campaign.c.id == int(ref)) if ref.isascii() and ref.isdigit() else []
