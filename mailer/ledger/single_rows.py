"""Rows of messages that applications handed over one by one: their keys, their numbers, and where they are
written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.sql.base import Executable

from mailer.errors import IdempotencyConflict, StateConflict
from mailer.ledger.contract import campaign_of, ordinal_of, row_id
from mailer.ledger.rows import address_hash
from mailer.ledger.schema import campaign, message, recipient, serial, single
from mailer.ledger.single_campaigns import LIVE
from mailer.ledger.statements import one_of
from mailer.ledger.transaction import Transaction
from mailer.message import State

_KNOWN = select(single.c.key, single.c.public, single.c.fingerprint).where(
    single.c.scope == bindparam("whose"), one_of(single.c.key, "keys")
)

#: Holds the campaign's counter until the commit, so no two rows get the same number.
_NUMBERS_ANYWAY = (
    update(serial)
    .where(serial.c.campaign_id == bindparam("campaign"))
    .values(last=serial.c.last + bindparam("more"))
    .returning(serial.c.last)
)
_NUMBERS = _NUMBERS_ANYWAY.where(exists().where(campaign.c.id == serial.c.campaign_id, LIVE))

_SINGLE = ("message_id", "public", "scope", "key", "fingerprint")
_MESSAGE = ("id", "campaign_id", "lane", "due_at", "state")
_RECIPIENT = ("id", "line", "address", "cells", "address_hash")


class Single(NamedTuple):
    """One message. ``public`` is its name outside; ``cells`` all that it is made of, as JSON text.

    ``key`` with ``scope`` is unique among all messages; ``fingerprint`` tells the same content from other.
    """

    public: str
    campaign_id: int
    address: str
    lane: str
    cells: str
    due_at: float = 0.0
    scope: str = ""
    key: str | None = None
    fingerprint: str = ""


class Added(NamedTuple):
    """``created`` False: the key was known, and ``public`` names the message that had it first."""

    public: str
    id: int  # of its row; 0 when it is not new
    created: bool


class CampaignClosed(StateConflict):
    """``CampaignClosed(campaign_id)``: it was cancelled, and takes no more messages."""


class Raced(Exception):
    """Another process took the same key in this very moment: look again."""


#: (scope, key) -> (public, fingerprint; None when that was erased, and any content counts as the same)
Keys = dict[tuple[str, str], tuple[str, str | None]]


def add(tx: Transaction, singles: Sequence[Single], state: State = State.PENDING) -> list[Added]:
    """As ``Singles.add``; a cancelled campaign takes what is CANCELLED. Nothing is written before all of them
    are known to be right."""
    added, fresh = sorted_out(singles, known_keys(tx, singles))
    return with_rows(added, insert(tx, fresh, state))


def sorted_out(singles: Sequence[Single], known: Keys) -> tuple[list[Added], list[Single]]:
    """What each comes to, without its row, and those that are new; ``known`` gets their keys."""
    added: list[Added] = []
    fresh: list[Single] = []
    keys: Keys = {}
    for one in singles:
        name = (one.scope, one.key or "")
        found = None if one.key is None else keys.get(name) or known.get(name)
        if found is None:
            fresh.append(one)
            added.append(Added(one.public, 0, True))
            if one.key is not None:
                keys[name] = (one.public, one.fingerprint)
        elif found[1] is not None and found[1] != one.fingerprint:
            raise key_taken(one)
        else:
            added.append(Added(found[0], 0, False))
    known.update(keys)
    return added, fresh


def key_taken(one: Single) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"the idempotency key {one.key!r} was used for another message: give this one its own key"
    )


def with_rows(added: Sequence[Added], ids: Mapping[str, int]) -> list[Added]:
    # Whoever handed over the same under the same key in the same commit did not make it.
    return [Added(one.public, ids.get(one.public, 0) if one.created else 0, one.created) for one in added]


def known_keys(tx: Transaction, singles: Sequence[Single]) -> Keys:
    keys: dict[str, list[str]] = defaultdict(list)
    for one in singles:
        if one.key is not None:
            keys[one.scope].append(one.key)
    known = {}
    for scope, wanted in keys.items():
        for key, public, fingerprint in tx.rows(_KNOWN, whose=scope, keys=tx.array(wanted)):
            known[scope, key] = (public, fingerprint)
    return known


def insert(tx: Transaction, fresh: Sequence[Single], state: State) -> Mapping[str, int]:
    """Their row ids by public name."""
    if state is State.PENDING and tx.dialect.name == "postgresql":
        campaigns = {one.campaign_id for one in fresh}
        if len(campaigns) == 1 and (ids := _in_one_statement(tx, campaigns.pop(), fresh)) is not None:
            return ids
    return _insert(tx, fresh, state)


def _in_one_statement(tx: Transaction, campaign_id: int, fresh: Sequence[Single]) -> Mapping[str, int] | None:
    from mailer.ledger import postgres_singles  # the driver is an extra

    if len(fresh) > postgres_singles.MOST:
        return None
    try:
        ids = postgres_singles.insert_few(tx, campaign_id, fresh)
    except postgres_singles.Taken:
        raise Raced from None
    if not ids:
        raise CampaignClosed(campaign_id)
    return ids


def _insert(tx: Transaction, fresh: Sequence[Single], state: State) -> Mapping[str, int]:
    numbered = _numbered(tx, fresh, _NUMBERS if state is State.PENDING else _NUMBERS_ANYWAY)
    names = [(id_, one.public, one.scope, one.key, one.fingerprint) for id_, one in numbered]
    if not tx.dialect.append(tx.cursor, single.name, _SINGLE, names):
        raise Raced
    messages = [(id_, campaign_of(id_), one.lane, one.due_at, state.value) for id_, one in numbered]
    recipients = [
        (id_, ordinal_of(id_), one.address, one.cells, address_hash(one.address)) for id_, one in numbered
    ]
    tx.dialect.append(tx.cursor, message.name, _MESSAGE, messages)
    tx.dialect.append(tx.cursor, recipient.name, _RECIPIENT, recipients)
    for campaign_id, rows in Counter(one.campaign_id for _, one in numbered).items():
        tx.moved(campaign_id, None, state, rows)
    return {one.public: id_ for id_, one in numbered}


def _numbered(tx: Transaction, fresh: Sequence[Single], numbers: Executable) -> list[tuple[int, Single]]:
    by_campaign: dict[int, list[Single]] = defaultdict(list)
    for one in fresh:
        by_campaign[one.campaign_id].append(one)
    numbered = []
    # Always in the same order: two transactions that wait for each other's counter would never end.
    taken = {id_: tx.rows(numbers, campaign=id_, more=len(by_campaign[id_])) for id_ in sorted(by_campaign)}
    for campaign_id, last in taken.items():
        if not last:
            raise CampaignClosed(campaign_id)
        those = by_campaign[campaign_id]
        first = last[0][0] - len(those) + 1
        numbered += [(row_id(campaign_id, first + n), one) for n, one in enumerate(those)]
    return numbered
