"""What the ledger knows of rows that are about to be marked or settled, read and locked at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import and_, bindparam, exists, literal, select

from mailer.ledger.contract import CampaignState
from mailer.ledger.schema import campaign, lease, message
from mailer.ledger.statements import one_of
from mailer.ledger.transaction import Transaction
from mailer.message import State


class Held(NamedTuple):
    """``live``: its lease lasts and its campaign runs, so it may be marked."""

    id: int
    campaign_id: int
    state: str
    fence: int
    attempts: int
    first_tried_at: float | None
    phase: str | None
    live: bool = False


#: A pause is exact because it is looked at with every mark (I5).
_LIVE = and_(
    message.c.state == literal(State.CLAIMED.value),
    exists(
        select(lease.c.id)
        .join(campaign, campaign.c.id == lease.c.campaign_id)
        .where(
            lease.c.id == message.c.fence,
            lease.c.until > bindparam("now"),
            campaign.c.state == literal(CampaignState.RUNNING.value),
        )
    ),
)

#: Only rows that have one of these fences: those of others stay unlocked.
_HELD = (
    select(*(message.c[name] for name in Held._fields if name != "live"), _LIVE.label("live"))
    .where(one_of(message.c.id, "ids"), one_of(message.c.fence, "fences"))
    .order_by(message.c.id)
    .with_for_update(of=message)
)


def held(tx: Transaction, ids: Collection[int], fences: Collection[int]) -> dict[int, Held]:
    """By id. Nobody else changes them before this transaction ends."""
    found = tx.rows(_HELD, ids=tx.array(ids), fences=tx.array(fences), now=tx.now)
    return {row[0]: Held(*row) for row in found}
