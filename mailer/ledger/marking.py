"""Marks: made durable right before a message can no longer be taken back (I3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import bindparam, func, literal, select, update

from mailer.ledger.contract import CampaignState, campaign_of
from mailer.ledger.database import Transaction
from mailer.ledger.schema import campaign, lease, message
from mailer.ledger.statements import one_of
from mailer.message import State

_CLAIMED, _SENDING = State.CLAIMED.value, State.SENDING.value

#: Leases that last, of campaigns that run: a pause is exact because it is looked at with every mark (I5).
_LIVE = (
    select(lease.c.id, lease.c.campaign_id)
    .join(campaign, campaign.c.id == lease.c.campaign_id)
    .where(
        one_of(lease.c.id, "fences"),
        lease.c.until > bindparam("now"),
        campaign.c.state == literal(CampaignState.RUNNING.value),
    )
)

_MARK = (
    update(message)
    .where(
        one_of(message.c.id, "ids"),
        message.c.fence == bindparam("of_fence"),
        message.c.state == literal(_CLAIMED),
    )
    .values(
        state=literal(_SENDING),
        first_tried_at=func.coalesce(message.c.first_tried_at, bindparam("now")),
    )
    .returning(message.c.id)
)


def mark(tx: Transaction, marks: Sequence[tuple[int, int]]) -> list[bool]:
    """For each (id, fence): it is now SENDING, durably once this transaction is; or it must not be sent."""
    tx.share(campaign_of(id_) for id_, _ in marks)
    by_fence: dict[int, list[int]] = defaultdict(list)
    for id_, fence in marks:
        by_fence[fence].append(id_)
    marked: set[tuple[int, int]] = set()
    for fence, campaign_id in tx.rows(_LIVE, fences=tx.array(list(by_fence)), now=tx.now):
        ids = tx.rows(_MARK, ids=tx.array(by_fence[fence]), of_fence=fence, now=tx.now)
        tx.moved(campaign_id, _CLAIMED, _SENDING, len(ids))
        marked.update((id_, fence) for (id_,) in ids)
    # Asked twice in one commit, a row is marked once: the second asker must not send it too.
    return [_taken(marked, one) for one in marks]


def _taken(marked: set[tuple[int, int]], one: tuple[int, int]) -> bool:
    if one not in marked:
        return False
    marked.remove(one)
    return True
