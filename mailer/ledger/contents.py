"""What campaigns and finished messages are made of. It goes with the last that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import delete, select

from mailer.ledger.reading import campaign_by_id
from mailer.ledger.schema import blob, campaign, recipient
from mailer.ledger.transaction import Transaction

#: Contents of whoever brings none.
NOTHING: Mapping[str, bytes] = MappingProxyType({})

_SPECS = select(campaign.c.spec)

#: Names of blobs, each with the first and the last row that may name it.
Named = Mapping[str, tuple[int, int]]

#: In the spec of a campaign: what it was made of before it was corrected.
FORMER = "former_contents"


def keep(tx: Transaction, contents: Mapping[str, bytes]) -> None:
    """By their sha256, the same once. Of a campaign: in the transaction in which it begins to name them,
    alone in OPENING, or ``release`` could take away what was there already."""
    if contents:
        tx.dialect.insert_new(tx.cursor, blob.name, ("sha256", "data"), sorted(contents.items()))


def made_of(spec: Mapping[str, Any]) -> set[str]:
    """The names of a campaign's template and attachments, and of those that it had before."""
    package = spec.get("package", {})
    return {*package.get("files", {}).values(), *package.get("shared", {}).values(), *spec.get(FORMER, ())}


def release(tx: Transaction, gone: Mapping[str, Any]) -> None:
    """Remove what a campaign of this spec was made of, and no other is. It has to be gone, and the
    transaction alone in OPENING."""
    names = made_of(gone)
    for spec in tx.execute(_SPECS).scalars():
        names -= made_of(json.loads(spec))
    tx.execute(delete(blob).where(blob.c.sha256.in_(names)))


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
