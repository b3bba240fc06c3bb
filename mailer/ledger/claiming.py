"""Claims: from hinted ids to the rows that this worker, and nobody else, may now send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, case, insert, literal, select, update

from mailer.ledger import erasing
from mailer.ledger.contract import CampaignState, Row, Slice, campaign_of
from mailer.ledger.schema import WAITING, campaign, lease, message, recipient
from mailer.ledger.statements import one_of
from mailer.ledger.suppressions import suppressed_among
from mailer.ledger.transaction import Transaction
from mailer.message import Phase, State

_ANSWER = Phase.ANSWER.value

_CAMPAIGN = select(
    campaign.c.state,
    campaign.c.stream,
    campaign.c.version,
    campaign.c.blocked_seconds,
    campaign.c.revision,
).where(campaign.c.id == bindparam("campaign_id"))

# Without a condition on the campaign: with one, SQLite walks the index of all its waiting rows.
_DUE = (
    select(
        message.c.id,
        recipient.c.address,
        message.c.lane,
        recipient.c.cells,
        recipient.c.files,
        message.c.attempts,
        message.c.first_tried_at,
        message.c.backend,
        message.c.phase,
        message.c.version,
        message.c.state,
    )
    .join(recipient, recipient.c.id == message.c.id)
    .where(
        one_of(message.c.id, "ids"),
        WAITING,
        message.c.due_at <= bindparam("now"),
    )
    .order_by(message.c.id)
    .with_for_update(of=message, skip_locked=True)  # somebody else is claiming those
)

#: Where they stand in a row of _DUE.
_ID, _ADDRESS, _PHASE, _STATE = 0, 1, -3, -1

_LEASE = (
    insert(lease)
    .values({name: bindparam(name) for name in ("campaign_id", "worker", "until", "ids")})
    .returning(lease.c.id)
)

_TAKE = (
    update(message)
    .where(one_of(message.c.id, "ids"))
    .values(
        state=literal(State.CLAIMED.value),
        fence=bindparam("fence"),
        version=case((message.c.phase == literal(_ANSWER), message.c.version), else_=bindparam("version")),
    )
)

_SUPPRESS = (
    update(message)
    .where(one_of(message.c.id, "ids"))
    .values(
        state=case(
            (message.c.phase == literal(_ANSWER), literal(State.UNKNOWN.value)),
            else_=literal(State.SUPPRESSED.value),
        ),
        settled_at=bindparam("now"),
        reason=literal("The address is on the suppression list."),
    )
)


def claim(tx: Transaction, ids: Sequence[int], worker: str, lease_seconds: float) -> Slice:
    """What of ``ids`` waits, is due, and belongs to the running campaign of the first of them."""
    campaign_id = campaign_of(ids[0]) if ids else 0
    tx.share([campaign_id])
    found = tx.rows(_CAMPAIGN, campaign_id=campaign_id)
    nothing = Slice(fence=0, campaign_id=campaign_id, rows=[], now=tx.now)
    if not found or found[0][0] != CampaignState.RUNNING:
        return nothing
    _, stream, version, nothing.blocked_seconds, nothing.revision = found[0]
    own = [id_ for id_ in ids if campaign_of(id_) == campaign_id]
    due = tx.rows(_DUE, ids=tx.array(own), now=tx.now)
    due, nothing.suppressed = _without_suppressed(tx, campaign_id, stream, due)
    if not due:
        return nothing
    ids = tx.array([row[_ID] for row in due])
    until = tx.now + lease_seconds
    lease_of = {"campaign_id": campaign_id, "worker": worker, "until": until, "ids": ids}
    ((fence,),) = tx.rows(_LEASE, **lease_of)
    tx.run(_TAKE, ids=ids, fence=fence, version=version)
    for state, taken in Counter([row[_STATE] for row in due]).items():
        tx.moved(campaign_id, state, State.CLAIMED.value, taken)
    return replace(nothing, fence=fence, rows=[_row(row, version) for row in due])


def _row(found: Sequence[Any], version: int) -> Row:
    *cells, backend, phase, sent_version, _ = found
    unsure = phase == _ANSWER
    # Corrected meanwhile it is another message, with another key: no backend knows it as what it had.
    known = backend if not unsure or sent_version == version else None
    return Row(*(*cells, version, known, unsure))


def _without_suppressed(
    tx: Transaction, campaign_id: int, stream: str, due: list[Any]
) -> tuple[list[Any], int]:
    refused = suppressed_among(tx, [row[_ADDRESS] for row in due], stream)
    if not refused:
        return due, 0
    out = [row for row in due if row[_ADDRESS] in refused]
    ids = [row[_ID] for row in out]
    tx.run(_SUPPRESS, ids=tx.array(ids), now=tx.now)
    erasing.ended(tx, campaign_id, ids)
    for row in out:
        in_doubt = row[_PHASE] == _ANSWER  # an earlier try may have arrived
        tx.moved(campaign_id, row[_STATE], (State.UNKNOWN if in_doubt else State.SUPPRESSED).value)
    return [row for row in due if row[_ADDRESS] not in refused], len(out)
