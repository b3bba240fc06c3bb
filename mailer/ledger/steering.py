"""Campaigns under way, changed inside one transaction: from state to state, or in what and how they send."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update

from mailer.errors import StateConflict
from mailer.ledger import contents, erasing, rows
from mailer.ledger.backends import follow_backend
from mailer.ledger.contract import Campaign, CampaignState, Event, Retried, Runner
from mailer.ledger.lifting import lift
from mailer.ledger.reading import campaign_by_id
from mailer.ledger.schema import campaign, lease
from mailer.ledger.transaction import Transaction
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

#: Rows are there, and some may still be sent.
ALIVE = (CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)
UNDER_WAY = (CampaignState.OPENING, *ALIVE)


def open_up(tx: Transaction, campaign_id: int, invalid_rows: int) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    check(found, "open", *UNDER_WAY, CampaignState.FINISHED)
    state = found.state
    again = state is CampaignState.FINISHED and rows.waiting(tx, campaign_id)
    if state is CampaignState.OPENING or again:
        state = _due_state(tx, found)
    _move(tx, found, state, invalid_rows=invalid_rows)


def pause(tx: Transaction, campaign_id: int, reason: str, *, by_person: bool) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    check(found, "pause", *ALIVE)
    if found.state is CampaignState.PAUSED:
        return
    since = tx.now if found.halted_since is None else found.halted_since
    event = None if by_person else Event.PAUSED.value
    _change(tx, found, CampaignState.PAUSED, reason=reason, halted_since=since, event=event)


def resume(tx: Transaction, campaign_id: int) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    check(found, "resume", CampaignState.PAUSED)
    # One whose start was missed begins now: a person said so.
    _move(tx, found, _due_state(tx, found), reason=None, event=None, **_unhalted(tx, found))


def cancel(tx: Transaction, campaign_id: int) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    check(found, "cancel", *UNDER_WAY, CampaignState.CANCELLED)
    if found.state is not CampaignState.CANCELLED:
        rows.cancel(tx, campaign_id)
        _change(tx, found, CampaignState.CANCELLED, finished_at=tx.now, event=None, **_unhalted(tx, found))


def retry(tx: Transaction, campaign_id: int, states: Collection[State]) -> Retried:
    found = campaign_by_id(tx.connection, campaign_id)
    check(found, "retry", *ALIVE, CampaignState.FINISHED)
    _not_pruned(found)
    if erasing.is_sensitive(tx, campaign_id) and not set(states) <= {State.UNKNOWN}:
        raise StateConflict(
            f"cannot retry {found.slug}: it is `sensitive`, so what a message said was erased when it ended;"
            " only --unknown can be tried again"
        )
    lifted = lift(tx, campaign_id) if State.REJECTED in states else 0
    again = rows.retry(tx, campaign_id, states)
    if again and found.state is CampaignState.FINISHED:
        _move(tx, found, CampaignState.RUNNING, event=None)
    return Retried(again, lifted)


def set_backend(
    tx: Transaction, campaign_id: int, backend: str, knows_keys: Mapping[str, Any] | None
) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    if found.backend != backend:
        keys = None
        if knows_keys is not None:  # what is in flight now may be with the backend that it had until now
            last = select(func.max(lease.c.id)).where(lease.c.campaign_id == campaign_id)
            keys = {**knows_keys, "after": tx.execute(last).scalar() or 0}
        _set_spec(tx, campaign_id, {"knows_keys": keys}, backend=backend)
        follow_backend(tx, [campaign_id])


def set_rates(tx: Transaction, campaign_id: int, rates: Sequence[str]) -> None:
    _set_spec(tx, campaign_id, {"rates": list(rates)})


def set_priority(tx: Transaction, campaign_id: int, priority: int) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    _change(tx, found, found.state, priority=priority, revision=found.revision + 1)


def set_runner(tx: Transaction, campaign_id: int, runner: Runner) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    _change(tx, found, found.state, runner=runner.value)


def schedule(tx: Transaction, campaign_id: int, start_at: float | None) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    if found.started_at is not None:
        raise StateConflict(f"{found.slug} has started already; `mailer pause` stops it")
    check(found, "schedule", CampaignState.SCHEDULED, CampaignState.PAUSED)
    state = found.state
    if state is CampaignState.SCHEDULED:
        state = CampaignState.SCHEDULED if (start_at or 0.0) > tx.now else CampaignState.RUNNING
    _move(tx, found, state, start_at=start_at)


def correct(tx: Transaction, campaign_id: int, changes: Mapping[str, Any]) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    check(found, "update", CampaignState.PAUSED)
    flying = sum(n for state, n in rows.tallied(tx.connection, campaign_id).items() if state in IN_FLIGHT)
    if flying:
        raise StateConflict(
            f"cannot update {found.slug}: {flying} of its messages are in flight;"
            f" `mailer pause {found.slug} --wait` returns when there are none"
        )
    if "package" in changes and (former := contents.made_of(found.spec) - contents.made_of(changes)):
        changes = {**changes, contents.FORMER: sorted(former)}
    _set_spec(tx, campaign_id, changes, version=found.version + 1)


def check(found: Campaign, action: str, *allowed: CampaignState) -> None:
    """Raises StateConflict that says what to do instead."""
    if found.state not in allowed:
        raise StateConflict(f"cannot {action} {found.slug}: it is {found.state}; {_ADVICE[found.state]}")


def _not_pruned(found: Campaign) -> None:
    if found.pruned_at is not None:
        raise StateConflict(f"the recipients of {found.slug} were removed by `mailer prune`; counts are kept")


def _set_spec(tx: Transaction, campaign_id: int, changes: Mapping[str, Any], **values: Any) -> None:
    found = campaign_by_id(tx.connection, campaign_id)
    spec = json.dumps({**found.spec, **changes})
    _change(tx, found, found.state, spec=spec, revision=found.revision + 1, **values)


def _due_state(tx: Transaction, found: Campaign) -> CampaignState:
    """One that has never run waits for its time, if it has one that is still to come."""
    later = found.started_at is None and (found.start_at or 0.0) > tx.now
    return CampaignState.SCHEDULED if later else CampaignState.RUNNING


def _move(tx: Transaction, found: Campaign, state: CampaignState, **values: Any) -> None:
    """A campaign that runs has started, and is not finished; and it waits where its backend is paused."""
    if state is CampaignState.RUNNING:
        values["started_at"] = tx.now if found.started_at is None else found.started_at
        values["finished_at"] = None
    _change(tx, found, state, **values)
    follow_backend(tx, [found.id])


def _change(tx: Transaction, found: Campaign, state: CampaignState, **values: Any) -> None:
    tx.execute(update(campaign).where(campaign.c.id == found.id).values(state=state.value, **values))


def _unhalted(tx: Transaction, found: Campaign) -> dict[str, Any]:
    halted = 0.0 if found.halted_since is None else max(0.0, tx.now - found.halted_since)
    return {"blocked_seconds": found.blocked_seconds + halted, "halted_since": None}
