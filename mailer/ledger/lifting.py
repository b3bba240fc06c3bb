"""Suppressions that a bounce has made, taken back when its recipient is to be tried again."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, literal_column, select

from mailer.ledger.contract import row_id
from mailer.ledger.schema import message, recipient, suppression
from mailer.ledger.statements import one_of
from mailer.ledger.suppressions import EVERY_STREAM, key
from mailer.ledger.transaction import Transaction

#: Rows looked at in one step; memory stays flat.
PAGE = 2000

_REJECTED = (
    select(message.c.id, recipient.c.address, message.c.settled_at)
    .join(recipient, recipient.c.id == message.c.id)
    .where(
        message.c.id > bindparam("after"),
        message.c.id < bindparam("end"),
        message.c.state == literal_column("'rejected'"),
    )
    .order_by(message.c.id)
    .limit(PAGE)
)

_KNOWN = select(suppression.c.address, suppression.c.added_at).where(
    one_of(suppression.c.address, "addresses"), suppression.c.stream == literal_column(f"'{EVERY_STREAM}'")
)

_LIFT = delete(suppression).where(
    one_of(suppression.c.address, "addresses"), suppression.c.stream == literal_column(f"'{EVERY_STREAM}'")
)


def lift(tx: Transaction, campaign_id: int) -> int:
    """Take back what the refusals of this campaign have put on the list; how many addresses those were.

    A refusal and its suppression are written in one transaction, so they bear the same time. What a
    person, another campaign or an earlier bounce has added stays.
    """
    lifted, after = 0, row_id(campaign_id, 0)
    while page := tx.rows(_REJECTED, after=after, end=row_id(campaign_id + 1, 0)):
        lifted += _lift_page(tx, {(key(address), settled_at) for _, address, settled_at in page})
        after = page[-1][0]
    return lifted


def _lift_page(tx: Transaction, refused: set[tuple[str, float]]) -> int:
    known = tx.rows(_KNOWN, addresses=tx.array({address for address, _ in refused}))
    own = [address for address, added_at in known if (address, added_at) in refused]
    return tx.run(_LIFT, addresses=tx.array(own)) if own else 0
