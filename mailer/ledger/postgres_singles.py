"""A few rows in one statement, for PostgreSQL: each round trip costs an application more than the rows do.

Counter, names, rows and tally: five round trips otherwise. Locks are taken in the same order as by the
statements that this stands for, the counter first and the tally last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from psycopg.errors import UniqueViolation

from mailer.ledger.contract import ORDINAL_BITS
from mailer.ledger.rows import address_hash
from mailer.ledger.single_campaigns import LIVE_STATES
from mailer.ledger.transaction import Transaction
from mailer.message import State

if TYPE_CHECKING:
    from mailer.ledger.single_rows import Single

#: More go by COPY.
MOST = 7

_ROW = "%s::text, %s::text, %s::text, %s::text, %s::text, %s::float8, %s::text, %s::text, %s::bigint"


class Taken(Exception):
    """Some key is another message's by now; the transaction is over."""


def insert_few(tx: Transaction, campaign_id: int, fresh: Sequence[Single]) -> Mapping[str, int]:
    """Their row ids by public name; none when the campaign takes no more. Raises Taken."""
    values = chain.from_iterable(map(_values, fresh))
    parameters = (campaign_id, *values, tx.dialect.slot())
    try:
        rows = tx.cursor.execute(_statement(len(fresh)), parameters).fetchall()
    except UniqueViolation:
        raise Taken from None
    return dict(rows)


def _values(one: Single) -> tuple[object, ...]:
    # As text: a number's size would make another statement of it to be planned.
    hashed = str(address_hash(one.address))
    names = (one.public, one.scope, one.key, one.fingerprint)
    return (*names, one.lane, float(one.due_at), one.address, one.cells, hashed)


@cache
def _statement(rows: int) -> str:
    values = ", ".join(f"({number}, {_ROW})" for number in range(1, rows + 1))
    live = ", ".join(f"'{state.value}'" for state in LIVE_STATES)
    pending = State.PENDING.value
    return f"""
WITH taken AS (
  UPDATE serial SET last = last + {rows} WHERE campaign_id = %s::bigint AND EXISTS
    (SELECT 1 FROM campaign WHERE campaign.id = serial.campaign_id AND campaign.state IN ({live}))
  RETURNING campaign_id, last - {rows} AS before
), fresh (n, public, scope, key, fingerprint, lane, due_at, address, cells, hashed) AS (VALUES {values}
), numbered AS (
  SELECT (campaign_id << {ORDINAL_BITS}) + before + n AS id, (before + n)::integer AS line, taken.campaign_id,
    fresh.* FROM taken, fresh
), names AS (
  INSERT INTO single (message_id, public, scope, key, fingerprint)
  SELECT id, public, scope, key, fingerprint FROM numbered
), messages AS (
  INSERT INTO message (id, campaign_id, lane, due_at, state)
  SELECT id, campaign_id, lane, due_at, '{pending}' FROM numbered
), recipients AS (
  INSERT INTO recipient (id, line, address, cells, address_hash)
  SELECT id, line, address, cells, hashed FROM numbered
), counted AS (
  UPDATE tally SET n = tally.n + {rows} FROM taken
  WHERE tally.campaign_id = taken.campaign_id AND tally.state = '{pending}' AND tally.slot = %s
)
SELECT public, id FROM numbered
"""  # noqa: S608 - names and numbers of our own
