"""What dead and slow workers left behind."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, literal, literal_column, null, or_, select, update

from mailer.ledger import erasing
from mailer.ledger.contract import CampaignState, Recovery
from mailer.ledger.schema import HELD, attempt, campaign, lease, message
from mailer.ledger.statements import one_of
from mailer.ledger.transaction import Transaction
from mailer.message import Phase, State

#: Leases looked at in one transaction; a claim of somebody else waits no longer than that takes.
LEASES_AT_ONCE = 20

_FIRST = select(lease.c.campaign_id).where(lease.c.until <= bindparam("now")).order_by(lease.c.id).limit(1)

_EXPIRED = (
    select(lease.c.id, lease.c.ids)
    .where(lease.c.until <= bindparam("now"), lease.c.campaign_id == bindparam("campaign_id"))
    .order_by(lease.c.id)
    .limit(LEASES_AT_ONCE)
    .with_for_update()
)

_LEFT = select(message.c.id, message.c.state, message.c.attempts, message.c.first_tried_at).where(
    one_of(message.c.id, "ids"), message.c.fence == bindparam("fence"), HELD
)

_CAMPAIGN = select(campaign.c.state, campaign.c.backend, campaign.c.spec).where(
    campaign.c.id == bindparam("campaign_id")
)

#: Unsent for certain: what it was before, due now.
_RETURN = (
    update(message)
    .where(one_of(message.c.id, "ids"))
    .values(state=bindparam("after"), due_at=bindparam("now"))
)

#: An earlier try of it may have arrived.
_IN_DOUBT = message.c.phase == literal(Phase.ANSWER.value)
_OVER = update(message).where(one_of(message.c.id, "ids")).values(settled_at=bindparam("now"))
_CANCEL = _OVER.where(or_(message.c.phase.is_(None), ~_IN_DOUBT)).values(state=literal(State.CANCELLED.value))
_DOUBT = _OVER.where(_IN_DOUBT).values(state=literal(State.UNKNOWN.value))

_REASON = "The worker was lost after it had begun to send, and before it could tell what became of it."

#: One attempt more has been spent, and nobody knows how it ended. The next one goes over the same backend.
_LOSE = (
    update(message)
    .where(one_of(message.c.id, "ids"))
    .values(
        state=bindparam("after"),
        due_at=bindparam("now"),
        attempts=message.c.attempts + literal_column("1"),
        settled_at=bindparam("now"),
        code=null(),
        enhanced=null(),
        phase=bindparam("after_phase"),
        reply=null(),
        reason=literal(_REASON),
        backend=func.coalesce(bindparam("via"), message.c.backend),
    )
)

_NOTE = insert(attempt).from_select(
    ["message_id", "at", "state", "reply"],
    select(message.c.id, bindparam("now"), literal(State.UNKNOWN.value), literal(_REASON)).where(
        one_of(message.c.id, "ids")
    ),
)

_FORGET = delete(lease).where(lease.c.id == bindparam("fence"))


def recover(tx: Transaction) -> Recovery:
    """Some of the leases that ran out, of one campaign. Nobody marks or settles rows of it meanwhile; and
    what was renewed until now lasts."""
    first = tx.rows(_FIRST, now=tx.now)
    if not first:
        return Recovery()
    ((campaign_id,),) = first
    tx.steer([campaign_id])
    expired = tx.rows(_EXPIRED, now=tx.now, campaign_id=campaign_id)
    found: Counter[str] = Counter()
    for fence, ids in expired:
        _settle_lease(tx, fence, campaign_id, ids, found)
        tx.run(_FORGET, fence=fence)
    return Recovery(len(expired), found["returned"], found["unknown"], found["retried"])


def _settle_lease(tx: Transaction, fence: int, campaign_id: int, ids: Any, found: Counter[str]) -> None:
    left = tx.rows(_LEFT, ids=ids, fence=fence)
    if not left:
        return
    ((state, backend, spec),) = tx.rows(_CAMPAIGN, campaign_id=campaign_id)
    cancelled = state == CampaignState.CANCELLED
    resending = _Resending() if cancelled else _resending(backend, json.loads(spec), fence)
    _lost(tx, campaign_id, left, found, resending)
    fresh = [id_ for id_, was, attempts, _ in left if was == State.CLAIMED and not attempts]
    tried = [id_ for id_, was, attempts, _ in left if was == State.CLAIMED and attempts]
    for rows, after in ((fresh, State.PENDING), (tried, State.DEFERRED)):
        if rows:
            _unsent(tx, campaign_id, rows, State.CANCELLED if cancelled else after)
            found["returned"] += len(rows)


@dataclass(frozen=True, slots=True)
class _Resending:
    """Which lost rows are sent again: those first tried less than ``seconds`` ago, over ``backend``."""

    seconds: float = 0.0
    backend: str | None = None


def _resending(backend: str, spec: Mapping[str, Any], fence: int) -> _Resending:
    """Because a person wants it, or because the provider knows the message by its key (I2)."""
    if spec.get("on_unknown") == "retry":
        return _Resending(math.inf)
    keys = spec.get("knows_keys") or {}
    if keys.get("backend") != backend or fence <= keys.get("after", 0):  # it may be with another backend
        return _Resending()
    return _Resending(float(keys["seconds"]), backend)


def _unsent(tx: Transaction, campaign_id: int, ids: Sequence[int], after: State) -> None:
    if after is State.CANCELLED:
        in_doubt = tx.run(_DOUBT, ids=tx.array(ids), now=tx.now)
        tx.moved(campaign_id, State.CLAIMED, State.UNKNOWN, in_doubt)
        tx.moved(campaign_id, State.CLAIMED, after, tx.run(_CANCEL, ids=tx.array(ids), now=tx.now))
        erasing.ended(tx, campaign_id, ids)
    else:
        tx.run(_RETURN, ids=tx.array(ids), after=after.value, now=tx.now)
        tx.moved(campaign_id, State.CLAIMED, after, len(ids))


def _lost(
    tx: Transaction, campaign_id: int, left: Sequence[Any], found: Counter[str], resending: _Resending
) -> None:
    sending = [(id_, first) for id_, was, _, first in left if was == State.SENDING]
    again = [id_ for id_, first in sending if tx.now - (first or tx.now) < resending.seconds]
    gone = [id_ for id_, _ in sending if id_ not in again]
    if again:
        tx.run(_NOTE, ids=tx.array(again), now=tx.now)
        _lose(tx, campaign_id, again, State.PENDING, phase=Phase.ANSWER, via=resending.backend)
        found["retried"] += len(again)
    if gone:
        _lose(tx, campaign_id, gone, State.UNKNOWN)
        found["unknown"] += len(gone)


def _lose(
    tx: Transaction,
    campaign_id: int,
    ids: Sequence[int],
    after: State,
    *,
    phase: Phase | None = None,
    via: str | None = None,
) -> None:
    known = {"after": after.value, "after_phase": phase and phase.value, "via": via}
    tx.run(_LOSE, ids=tx.array(ids), now=tx.now, **known)
    tx.moved(campaign_id, State.SENDING, after, len(ids))
