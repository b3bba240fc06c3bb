"""Marks: made durable right before a message can no longer be taken back (I3)."""

from __future__ import annotations

from collections.abc import Sequence

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
    tx: Transaction, marks: Sequence[tuple[int, int]], rows: dict[int, Held] | None = None
) -> list[bool]:
    """For each (id, fence): it is now SENDING, durably once this transaction is; or it must not be sent.

    ``rows`` are those that are ``held`` already, and are kept true.
    """
    if rows is None:
        tx.share(campaign_of(id_) for id_, _ in marks)
        rows = held(tx, [id_ for id_, _ in marks], {fence for _, fence in marks})
    answers = [_taken(tx, rows, *one) for one in marks]
    ids = [id_ for (id_, _), taken in zip(marks, answers, strict=True) if taken]
    if ids:
        tx.run(_MARK, ids=tx.array(ids), now=tx.now)
    return answers


def _taken(tx: Transaction, rows: dict[int, Held], id_: int, fence: int) -> bool:
    """Asked twice in one commit, a row is marked once: the second asker must not send it too."""
    row = rows.get(id_)
    if row is None or row.fence != fence or row.state != _CLAIMED or not row.live:
        return False
    rows[id_] = row._replace(state=_SENDING)
    tx.moved(row.campaign_id, _CLAIMED, _SENDING)
    return True
