"""Settlements: what became of each row, and whether it may be tried again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import bindparam, insert, select

from mailer.ledger.contract import CampaignState, Settlement, campaign_of
from mailer.ledger.erasing import ENDED, leave
from mailer.ledger.held import Held, held
from mailer.ledger.schema import attempt, campaign, message
from mailer.ledger.statements import RowUpdate, one_of
from mailer.ledger.suppressions import suppress_rows
from mailer.ledger.transaction import Transaction
from mailer.message import IN_FLIGHT, WAITING, Phase, State

# Plain text, because the driver looks for an adapter each time it binds a member of an Enum.
_WAITING = frozenset(state.value for state in WAITING)
_IN_FLIGHT = frozenset(state.value for state in IN_FLIGHT)
_UNKNOWN = State.UNKNOWN.value
_ANSWER = Phase.ANSWER.value


_CANCELLED = select(campaign.c.id).where(
    one_of(campaign.c.id, "ids"), campaign.c.state == CampaignState.CANCELLED.value
)

_REPLY = ("code", "enhanced", "phase", "reply", "reason", "backend", "reference", "copies")
_reply_of = attrgetter(*_REPLY)

_SETTLE = RowUpdate(message, "state", "due_at", "attempts", "first_tried_at", "settled_at", *_REPLY)
_GIVE_BACK = RowUpdate(message, "state", "due_at", "first_tried_at", "reason")

_TRIED = ("phase", "code", "enhanced", "reply", "backend")  # in the order of the table
_tried_of = attrgetter(*_TRIED)
_ADD_ATTEMPT = insert(attempt).values(
    {name: bindparam(name) for name in ("message_id", "at", "state", *_TRIED)}
)


@dataclass(slots=True)
class _Work:
    """What one transaction has to write, in the order of each statement's parameters."""

    settled: list[tuple[Any, ...]]
    given_back: list[tuple[Any, ...]]
    attempts: list[tuple[Any, ...]]
    suppress: list[tuple[int, str]]
    erase: list[tuple[str, int]]


def settle(
    tx: Transaction, settlements: Sequence[Settlement], rows: dict[int, Held] | None = None
) -> list[bool]:
    """For each: it counted. It does not when the fence is an older one, or the row was settled already.

    ``rows`` are those that are ``held`` already, and are kept true.
    """
    if rows is None:
        tx.share(campaign_of(one.id) for one in settlements)
        rows = held(tx, [one.id for one in settlements], {one.fence for one in settlements})
    cancelled = _cancelled(tx, settlements, rows)
    work = _Work([], [], [], [], [])
    answers = []
    for settlement in settlements:
        row = rows.get(settlement.id)
        counts = row is not None and admissible(row, settlement)
        if row is not None and counts:
            rows[row.id] = _decide(tx, work, row, settlement, cancelled)
        answers.append(counts)
    _write(tx, work)
    return answers


def admissible(row: Held, settlement: Settlement) -> bool:
    """Settled is only what this claim still holds, or what it left unknown and now knows for certain. Unknown
    is what was being sent, and what was in doubt since an earlier try."""
    if row.fence != settlement.fence:
        return False
    before, after = row.state, settlement.state.value
    if before == _UNKNOWN:
        return settlement.spent and after not in _IN_FLIGHT
    if after == _UNKNOWN:
        return before == State.SENDING.value or (before in _IN_FLIGHT and row.phase == _ANSWER)
    return before in _IN_FLIGHT and after not in _IN_FLIGHT


def _decide(
    tx: Transaction, work: _Work, row: Held, settlement: Settlement, cancelled: Collection[int]
) -> Held:
    """The row as it is from now on."""
    wanted = state = settlement.state.value
    if wanted in _WAITING and row.campaign_id in cancelled:
        in_doubt = (settlement.phase if settlement.spent else row.phase) == _ANSWER
        state = _UNKNOWN if in_doubt else State.CANCELLED.value
    tx.moved(row.campaign_id, row.state, state)
    if settlement.suppress:
        work.suppress.append((row.id, settlement.reason or settlement.reply or ""))
    if settlement.cells is not None and state in ENDED:
        work.erase.append((settlement.cells, row.id))
    due_at = settlement.due_at or tx.now
    attempts, first_tried_at = row.attempts, row.first_tried_at
    if settlement.spent:
        # An unknown row has had this attempt counted when it became unknown.
        attempts += row.state != _UNKNOWN
        first_tried_at = first_tried_at or tx.now
        if wanted in _WAITING:
            work.attempts.append((row.id, tx.now, wanted, *_tried_of(settlement)))
    elif not attempts:
        first_tried_at = None  # a mark that led to nothing was no try
    if settlement.spent or state not in _WAITING:
        answer = _reply_of(settlement)
        work.settled.append((state, due_at, attempts, first_tried_at, tx.now, *answer, row.id))
    else:
        work.given_back.append((state, due_at, first_tried_at, settlement.reason, row.id))
    phase = settlement.phase if settlement.spent else row.phase
    return Held(row.id, row.campaign_id, state, row.fence, attempts, first_tried_at, phase)


def is_plain(settlement: Settlement) -> bool:
    """Nothing but the row itself has to be read or written for it."""
    return not (settlement.suppress or settlement.cells is not None or settlement.state.value in _WAITING)


def _cancelled(
    tx: Transaction, settlements: Sequence[Settlement], rows: Mapping[int, Held]
) -> frozenset[int]:
    """Campaigns, among those whose rows are given back, that no longer want them."""
    back = [one.id for one in settlements if one.state.value in _WAITING]
    involved = {rows[id_].campaign_id for id_ in back if id_ in rows}
    if not involved:
        return frozenset()
    return frozenset(id_ for (id_,) in tx.rows(_CANCELLED, ids=tx.array(involved)))


def _write(tx: Transaction, work: _Work) -> None:
    if work.settled:
        tx.update_rows(_SETTLE, work.settled)
    if work.given_back:
        tx.update_rows(_GIVE_BACK, work.given_back)
    if work.attempts:
        tx.many(_ADD_ATTEMPT, work.attempts)
    if work.suppress:
        suppress_rows(tx, work.suppress)
    if work.erase:
        leave(tx, work.erase)
