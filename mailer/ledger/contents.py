"""Finished messages among the blobs: they go with the last row that names them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select

from mailer.ledger.reading import campaign_by_id
from mailer.ledger.schema import blob, recipient
from mailer.ledger.transaction import Transaction

#: Names of blobs, each with the first and the last row that may name it.
Named = Mapping[str, tuple[int, int]]


def named(tx: Transaction, campaign_id: int, ids: Sequence[int]) -> Named:
    """What these rows name, before they are removed. The rows of one message were written one behind the
    other, and each knows its place among them."""
    if not ids or not campaign_by_id(tx.connection, campaign_id).spec.get("finished"):
        return {}
    found: dict[str, tuple[int, int]] = {}
    rows = select(recipient.c.id, recipient.c.cells).where(recipient.c.id.in_(ids))
    for row in tx.execute(rows):
        id_, letter = row.id, json.loads(row.cells)
        number, of = letter["place"]
        first, last = found.get(letter["content"], (id_, id_))
        found[letter["content"]] = (min(first, id_ - number), max(last, id_ + of - 1 - number))
    return found


def drop(tx: Transaction, gone: Named) -> None:
    """Remove those that no row names any more."""
    if not gone:
        return
    first, last = min(span[0] for span in gone.values()), max(span[1] for span in gone.values())
    cells = tx.execute(select(recipient.c.cells).where(recipient.c.id.between(first, last))).scalars()
    left = {json.loads(one).get("content") for one in cells}
    tx.execute(delete(blob).where(blob.c.sha256.in_(gone.keys() - left)))
