"""Marks: made durable right before a message can no longer be taken back (I3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, func, literal, update

from mailer.ledger.contract import campaign_of
from mailer.ledger.held import Held, held
from mailer.ledger.schema import message
from mailer.ledger.statements import one_of
from mailer.ledger.transaction import Transaction
from mailer.message import State

_CLAIMED, _SENDING = State.CLAIMED.value, State.SENDING.value

_MARK = (
    update(message)
    .where(one_of(message.c.id, "ids"))
    .values(
        state=literal(_SENDING),
        first_tried_at=func.coalesce(message.c.first_tried_at, bindparam("now")),
    )
)


def mark(
    tx: Transaction, marks: Sequence[tuple[int, int]], rows: Mapping[int, Held] | None = None
) -> list[bool]:
    """For each (id, fence): it is now SENDING, durably once this transaction is; or it must not be sent.

    ``rows`` are those that are ``held`` already.
    """
    if rows is None:
        tx.share(campaign_of(id_) for id_, _ in marks)
        rows = held(tx, [id_ for id_, _ in marks], {fence for _, fence in marks})
    taken: set[int] = set()
    answers = [_taken(taken, rows.get(id_), fence) for id_, fence in marks]
    if taken:
        tx.run(_MARK, ids=tx.array(taken), now=tx.now)
        for campaign_id, ids in Counter(map(campaign_of, taken)).items():
            tx.moved(campaign_id, _CLAIMED, _SENDING, ids)
    return answers


def _taken(taken: set[int], row: Held | None, fence: int) -> bool:
    """Asked twice in one commit, a row is marked once: the second asker must not send it too."""
    if row is None or row.fence != fence or row.state != _CLAIMED or not row.live or row.id in taken:
        return False
    taken.add(row.id)
    return True
