"""Settlements: what became of each row, and whether it may be tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from mailer.ledger.contract import CampaignState, Settlement
from mailer.ledger.database import Transaction
from mailer.ledger.schema import attempt, campaign, message
from mailer.ledger.statements import one_of
from mailer.ledger.suppressions import suppress_rows
from mailer.message import IN_FLIGHT, WAITING, State


class Held(NamedTuple):
    """What the ledger knows of a row before it is settled."""

    id: int
    campaign_id: int
    state: str
    fence: int
    attempts: int
    first_tried_at: float | None
    settled_at: float | None


_HELD = select(*(message.c[name] for name in Held._fields)).where(one_of(message.c.id, "ids"))

_CANCELLED = select(campaign.c.id).where(
    one_of(campaign.c.id, "ids"), campaign.c.state == CampaignState.CANCELLED.value
)

_REPLY = ("code", "enhanced", "phase", "reply", "reason", "backend", "reference", "copies")

_SETTLE = (
    update(message)
    .where(message.c.id == bindparam("row"))
    .values(
        {
            name: bindparam(name)
            for name in ("state", "due_at", "attempts", "first_tried_at", "settled_at", *_REPLY)
        }
    )
)

_GIVE_BACK = (
    update(message)
    .where(message.c.id == bindparam("row"))
    .values({name: bindparam(name) for name in ("state", "due_at", "first_tried_at", "reason")})
)

_ADD_ATTEMPT = insert(attempt).values(
    {
        name: bindparam(name)
        for name in ("message_id", "at", "state", "phase", "code", "enhanced", "reply", "backend")
    }
)


@dataclass(slots=True)
class _Work:
    """What one transaction has to write."""

    settled: list[dict[str, Any]]
    given_back: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    suppress: list[tuple[int, str]]


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> list[bool]:
    """For each: it counted. It does not when the fence is an older one, or the row was settled already."""
    rows = {row[0]: Held(*row) for row in tx.rows(_HELD, ids=tx.array({one.id for one in settlements}))}
    cancelled = _cancelled(tx, settlements, rows)
    work = _Work([], [], [], [])
    answers = []
    for settlement in settlements:
        row = rows.get(settlement.id)
        counts = row is not None and admissible(row, settlement)
        if row is not None and counts:
            state = settlement.state
            if state in WAITING and row.campaign_id in cancelled:
                state = State.CANCELLED
            _decide(tx, work, row, settlement, state)
            rows[row.id] = row._replace(state=state)
        answers.append(counts)
    _write(tx, work)
    return answers


def admissible(row: Held, settlement: Settlement) -> bool:
    """Settled is only what this claim still holds, or what it left unknown and now knows for certain."""
    if row.fence != settlement.fence or settlement.state in IN_FLIGHT:
        return False
    if row.state == State.UNKNOWN:
        return settlement.spent
    if settlement.state == State.UNKNOWN:
        return row.state == State.SENDING
    return row.state in IN_FLIGHT


def _decide(tx: Transaction, work: _Work, row: Held, settlement: Settlement, state: State) -> None:
    tx.moved(row.campaign_id, row.state, state)
    if settlement.suppress:
        work.suppress.append((row.id, settlement.reason or settlement.reply or ""))
    if settlement.spent:
        _decide_spent(tx, work, row, settlement, state)
        return
    first_tried_at = row.first_tried_at if row.attempts else None  # a mark that led to nothing is no try
    if state in WAITING:
        work.given_back.append(_back(row, settlement, state, first_tried_at, tx.now))
    else:
        work.settled.append(_final(row, settlement, state, row.attempts, first_tried_at, tx.now))


def _decide_spent(tx: Transaction, work: _Work, row: Held, settlement: Settlement, state: State) -> None:
    # An unknown row has had this attempt counted when it became unknown.
    attempts = row.attempts + (row.state != State.UNKNOWN)
    first_tried_at = tx.now if row.first_tried_at is None else row.first_tried_at
    work.settled.append(_final(row, settlement, state, attempts, first_tried_at, tx.now))
    if settlement.state in WAITING:
        work.attempts.append(_attempt(settlement, tx.now))


def _final(
    row: Held,
    settlement: Settlement,
    state: State,
    attempts: int,
    first_tried_at: float | None,
    now: float,
) -> dict[str, Any]:
    values = {name: getattr(settlement, name) for name in _REPLY}
    return values | {
        "row": row.id,
        "state": state.value,
        "due_at": settlement.due_at or now,
        "attempts": attempts,
        "first_tried_at": first_tried_at,
        "settled_at": now,
    }


def _back(
    row: Held, settlement: Settlement, state: State, first_tried_at: float | None, now: float
) -> dict[str, Any]:
    return {
        "row": row.id,
        "state": state.value,
        "due_at": settlement.due_at or now,
        "first_tried_at": first_tried_at,
        "reason": settlement.reason,
    }


def _attempt(settlement: Settlement, now: float) -> dict[str, Any]:
    return {
        "message_id": settlement.id,
        "at": now,
        "state": settlement.state.value,
        "phase": settlement.phase,
        "code": settlement.code,
        "enhanced": settlement.enhanced,
        "reply": settlement.reply,
        "backend": settlement.backend,
    }


def _cancelled(
    tx: Transaction, settlements: Sequence[Settlement], rows: Mapping[int, Held]
) -> frozenset[int]:
    """Campaigns, among those whose rows are given back, that no longer want them."""
    involved = {rows[one.id].campaign_id for one in settlements if one.state in WAITING and one.id in rows}
    if not involved:
        return frozenset()
    return frozenset(id_ for (id_,) in tx.rows(_CANCELLED, ids=tx.array(involved)))


def _write(tx: Transaction, work: _Work) -> None:
    if work.settled:
        tx.many(_SETTLE, work.settled)
    if work.given_back:
        tx.many(_GIVE_BACK, work.given_back)
    if work.attempts:
        tx.many(_ADD_ATTEMPT, work.attempts)
    if work.suppress:
        suppress_rows(tx, work.suppress)
