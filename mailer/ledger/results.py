"""What became of each row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from mailer.ledger.campaigns import Campaigns
from mailer.ledger.contract import ORDINAL_BITS, Attempt, Campaign, Result, Why, campaign_of, row_id
from mailer.ledger.database import Database
from mailer.ledger.rows import address_hash
from mailer.ledger.schema import BLOCK, BLOCK_BITS, attempt, message, recipient
from mailer.ledger.schema import campaign as campaigns
from mailer.ledger.statements import one_of
from mailer.ledger.suppressions import key
from mailer.message import WAITING, State

#: Rows per transaction: a reader that stays longer keeps the log from shrinking.
PAGE = 2000

_COLD = ("line", "address", "cells")
_COLUMNS = [(recipient if name in _COLD else message).c[name] for name in Result.__dataclass_fields__]
_STATE, _DUE_AT = (list(Result.__dataclass_fields__).index(name) for name in ("state", "due_at"))
_RESULT = select(*_COLUMNS).join(recipient, recipient.c.id == message.c.id)

_PAGE = (
    _RESULT.where(message.c.id > bindparam("after"), message.c.id < bindparam("end"))
    .order_by(message.c.id)
    .limit(bindparam("page"))
)

_CANDIDATES = _RESULT.where(one_of(BLOCK, "blocks"), recipient.c.address_hash == bindparam("hash")).order_by(
    message.c.id
)

_ATTEMPTS = (
    select(*(attempt.c[name] for name in Attempt.__dataclass_fields__ if name != "number"))
    .where(attempt.c.message_id == bindparam("id"))
    .order_by(attempt.c.id)
)

_SAID = (message.c.state, message.c.code, message.c.enhanced, message.c.reason)
#: Most frequent first. No reply: a server may repeat the address in it.
_REASONS = (
    select(*_SAID, func.count().label("rows"))
    .where(
        message.c.id > bindparam("after"), message.c.id < bindparam("end"), one_of(message.c.state, "states")
    )
    .group_by(*_SAID)
    .order_by(func.count().desc(), *_SAID)
    .limit(bindparam("page"))
)

_FIRST = campaigns.c.id * (1 << ORDINAL_BITS)
_LAST = select(
    campaigns.c.id,
    func.coalesce(
        select(func.max(message.c.id))
        .where(message.c.id.between(_FIRST, _FIRST + ((1 << ORDINAL_BITS) - 1)))
        .scalar_subquery(),
        0,
    ),
)


class Results:
    """Reads only, and never more than a page at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._campaigns = Campaigns(database)

    def rows(self, campaign_id: int) -> Iterator[Result]:
        """Every row, by ordinal. Each page is read by itself, so later pages may know more."""
        after, end = row_id(campaign_id, 0) - 1, row_id(campaign_id + 1, 0)
        while True:
            with self._database.read() as connection:
                page = connection.execute(_PAGE, {"after": after, "end": end, "page": PAGE}).fetchall()
            yield from map(_result, page)
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def reasons(self, campaign_id: int, states: Collection[State]) -> list[Why]:
        """Why rows are in these states, the most frequent reasons first. Reads the whole campaign."""
        bounds = {"after": row_id(campaign_id, 0) - 1, "end": row_id(campaign_id + 1, 0)}
        wanted = self._database.dialect.array([state.value for state in states])
        with self._database.read() as connection:
            found = connection.execute(_REASONS, {**bounds, "states": wanted, "page": PAGE})
            return [Why(State(state), *rest) for state, *rest in found]

    def one(self, message_id: int) -> tuple[Result, list[Attempt]] | None:
        """This row, with its earlier tries."""
        with self._database.read() as connection:
            found = connection.execute(_RESULT.where(message.c.id == message_id)).first()
            return None if found is None else (_result(found), _attempts(connection, message_id))

    def find(self, address: str) -> list[tuple[Campaign, Result, list[Attempt]]]:
        """All rows of this address, whatever its case, oldest first; with the earlier tries of each."""
        with self._database.read() as connection:
            found = [_result(row) for row in self._candidates(connection, address)]
            own = [(one, _attempts(connection, one.id)) for one in found if key(one.address) == key(address)]
        return [(self._campaigns.by_id(campaign_of(one.id)), one, tries) for one, tries in own]

    def _candidates(self, connection: Connection, address: str) -> list[Any]:
        blocks: list[int] = []
        for campaign_id, last in connection.execute(_LAST):
            blocks.extend(range(row_id(campaign_id, 0) >> BLOCK_BITS, (last >> BLOCK_BITS) + 1))
        parameters = {"blocks": self._database.dialect.array(blocks), "hash": address_hash(address)}
        return list(connection.execute(_CANDIDATES, parameters))


def _result(row: Any) -> Result:
    """A row of ``_COLUMNS``; only who waits is due."""
    values = list(row)
    state = values[_STATE] = State(values[_STATE])
    values[_DUE_AT] = (values[_DUE_AT] or None) if state in WAITING else None
    return Result(*values)


def _attempts(connection: Connection, message_id: int) -> list[Attempt]:
    rows = connection.execute(_ATTEMPTS, {"id": message_id})
    return [Attempt(number, at, State(state), *rest) for number, (at, state, *rest) in enumerate(rows, 1)]
