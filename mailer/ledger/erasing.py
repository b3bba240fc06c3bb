"""What secret messages were made of, taken out of the ledger when they have ended.

What stays says which message went to whom and what became of it, and nothing of what it said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sqlalchemy import bindparam, null, select, update

from mailer.ledger.reading import campaign_by_id
from mailer.ledger.schema import WAITING as IS_WAITING
from mailer.ledger.schema import message, recipient, single
from mailer.ledger.statements import RowUpdate, one_of
from mailer.ledger.transaction import Transaction
from mailer.message import FINAL, State

#: Nothing of it will be sent any more. What is unknown may be sent again, and keeps what that needs.
ENDED = frozenset(state.value for state in FINAL - {State.UNKNOWN})

#: Rows whose cells are in memory at once.
PAGE = 100

#: Of the cells: what lists and ``status`` show.
_KEPT = ("id", "message_id", "template", "tags", "metadata")

_CELLS = (
    select(recipient.c.cells, recipient.c.id, message.c.state)
    .join(message, message.c.id == recipient.c.id)
    .where(one_of(recipient.c.id, "ids"))
)
_WAITING_OF = select(message.c.id).where(message.c.campaign_id == bindparam("campaign"), IS_WAITING)
_ERASE = RowUpdate(recipient, "cells")
#: Whoever knows the template can find a short code by trying: a digest of the content tells it too.
_FORGET = (
    update(single)
    .where(one_of(single.c.message_id, "ids"), single.c.fingerprint.is_not(None))
    .values(fingerprint=null())
)


def remains(cells: str) -> str:
    """What is kept of them."""
    letter = json.loads(cells)
    return json.dumps({name: letter[name] for name in _KEPT if name in letter})


def leave(tx: Transaction, left: Sequence[tuple[str, int]]) -> None:
    """Nothing but this is left of these rows' cells, nor a digest of them."""
    tx.update_rows(_ERASE, left)
    tx.run(_FORGET, ids=tx.array([id_ for _, id_ in left]))


def waiting_of(tx: Transaction, campaign_id: int) -> list[int]:
    """Rows of a sensitive campaign that wait; of any other none."""
    if not is_sensitive(tx, campaign_id):
        return []
    return [id_ for (id_,) in tx.rows(_WAITING_OF, campaign=campaign_id)]


def ended(tx: Transaction, campaign_id: int, ids: Sequence[int]) -> None:
    """Erase those of these rows that have ended, if their campaign is sensitive."""
    if not ids or not is_sensitive(tx, campaign_id):
        return
    for page in _pages(ids):
        found = tx.rows(_CELLS, ids=tx.array(page))
        if left := [(remains(cells), id_) for cells, id_, state in found if state in ENDED]:
            leave(tx, left)


def is_sensitive(tx: Transaction, campaign_id: int) -> bool:
    return bool(campaign_by_id(tx.connection, campaign_id).spec.get("sensitive"))


def _pages(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(ids), PAGE):
        yield ids[first : first + PAGE]
