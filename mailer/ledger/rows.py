"""The rows of one campaign, many at a time: added, cancelled, tried again, counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from zlib import crc32

from sqlalchemy import Connection, bindparam, func, insert, literal, null, select, true, update

from mailer.ledger import erasing
from mailer.ledger.contract import NewRow, row_id
from mailer.ledger.database import Database
from mailer.ledger.schema import ROWS, attempt, message, recipient, tally
from mailer.ledger.schema import WAITING as IS_WAITING
from mailer.ledger.suppressions import key
from mailer.ledger.transaction import Transaction
from mailer.message import FINAL, WAITING, Phase, State

#: Rows per transaction: large enough for speed, and another process waits for 50 ms at most.
PAGE = 5000

_MESSAGE = ("id", "campaign_id", "lane")
_RECIPIENT = ("id", "line", "address", "cells", "files", "address_hash")
#: The two halves of a row.
_Made = tuple[tuple[object, ...], tuple[object, ...]]

#: Accepted is accepted, and a cancelled campaign has no more to say.
_AGAIN = FINAL - {State.ACCEPTED, State.CANCELLED}


_TALLIED = (
    select(tally.c.state, ROWS).where(tally.c.campaign_id == bindparam("campaign")).group_by(tally.c.state)
)


def first_and_last(campaign_id: int) -> tuple[int, int]:
    """The ids between which all its rows lie."""
    return row_id(campaign_id, 0), row_id(campaign_id + 1, 0) - 1


class _Ahead:
    """Rows by the page. The next one is made, half by half, while a server takes the one before."""

    def __init__(self, campaign_id: int, new_rows: Iterable[NewRow]) -> None:
        self._made = (_made(campaign_id, row) for row in new_rows)
        self._page: list[_Made] = []
        self._error: Exception | None = None

    def half(self) -> None:
        """What reading raises is raised later: it does not concern the page under way, and would be in the
        server's log."""
        try:
            self._page += islice(self._made, PAGE // 2)
        except Exception as error:  # noqa: BLE001 - whatever it is: `take` raises it
            self._error = error

    def take(self) -> list[_Made]:
        """Empty at the end."""
        if self._error is not None:
            raise self._error
        self._page += islice(self._made, PAGE - len(self._page))
        page, self._page = self._page, []
        return page


def add(database: Database, campaign_id: int, new_rows: Iterable[NewRow]) -> int:
    """How many of them were new. What there was stays as it is."""
    ahead = _Ahead(campaign_id, new_rows)
    added = 0
    while page := ahead.take():
        added += _write(database, campaign_id, page, ahead.half)
    return added


def _made(campaign_id: int, row: NewRow) -> _Made:
    id_ = row_id(campaign_id, row.ordinal)
    hashed = address_hash(row.address)
    return (id_, campaign_id, row.lane), (id_, row.line, row.address, row.cells, row.files, hashed)


def _write(database: Database, campaign_id: int, page: Sequence[_Made], meanwhile: Callable[[], None]) -> int:
    messages, recipients = zip(*page, strict=True)
    with database.write(campaign_id) as tx:
        added = tx.dialect.load(tx.cursor, message.name, _MESSAGE, messages, meanwhile)
        if added:
            tx.dialect.load(tx.cursor, recipient.name, _RECIPIENT, recipients, meanwhile)
        tx.moved(campaign_id, None, State.PENDING, added)
    return added


def address_hash(address: str) -> int:
    """For the index only: who looks an address up compares the address too."""
    return crc32(key(address).encode())


def tallied(connection: Connection, campaign_id: int) -> dict[State, int]:
    found = connection.execute(_TALLIED, {"campaign": campaign_id})
    return {State(state): n for state, n in found}


def waiting(tx: Transaction, campaign_id: int) -> int:
    found = tallied(tx.connection, campaign_id)
    return sum(found[state] for state in WAITING)


def cancel(tx: Transaction, campaign_id: int) -> None:
    """All that wait; those of which an earlier try may have arrived are unknown from now on."""
    secret = erasing.waiting_of(tx, campaign_id)
    own = message.c.campaign_id == campaign_id
    in_doubt = message.c.phase == Phase.ANSWER.value
    over = {"settled_at": tx.now, "reason": "The campaign was cancelled."}
    for state in WAITING:
        these = update(message).where(own, IS_WAITING, message.c.state == state.value).values(over)
        for which, after in ((in_doubt, State.UNKNOWN), (true(), State.CANCELLED)):
            ended = tx.execute(these.where(which).values(state=after.value)).rowcount
            tx.moved(campaign_id, state, after, ended)
    erasing.ended(tx, campaign_id, secret)


def retry(tx: Transaction, campaign_id: int, states: Collection[State]) -> int:
    """These final rows wait again, as if never tried."""
    if not set(states) <= _AGAIN:
        raise ValueError(f"rows in these states are never tried again: {sorted(set(states) - _AGAIN)}")
    own = message.c.id.between(*first_and_last(campaign_id))
    these = (own, message.c.state.in_([state.value for state in states]))
    copied = ("state", "phase", "code", "enhanced", "reply", "backend")
    tx.execute(
        insert(attempt).from_select(
            ["message_id", "at", *copied],
            select(
                message.c.id,
                func.coalesce(message.c.settled_at, literal(tx.now)),
                *(message.c[name] for name in copied),
            ).where(*these, message.c.attempts > 0),
        )
    )
    cleared = ("first_tried_at", "settled_at", "code", "enhanced", "phase", "reply", "reason", "backend")
    fresh = {"state": State.PENDING.value, "due_at": 0.0, "attempts": 0, **dict.fromkeys(cleared, null())}
    again = 0
    for state in set(states):
        # Not by the tally: that counts rows too that were pruned since.
        moved = tx.execute(update(message).where(own, message.c.state == state.value).values(fresh)).rowcount
        tx.moved(campaign_id, state, State.PENDING, moved)
        again += moved
    return again
