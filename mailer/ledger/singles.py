"""Messages that applications hand over one by one: rows of campaigns that stay open.

Such a campaign has no opening and no end: it runs as soon as it exists, and rows come while it runs.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, exists, func, literal, literal_column, select, update
from sqlalchemy.sql.base import Executable

from mailer.errors import IdempotencyConflict, LedgerBusy, LedgerError, StateConflict
from mailer.ledger import steering
from mailer.ledger.contract import Campaign, CampaignState, NewCampaign, campaign_of, row_id
from mailer.ledger.database import Database, Transaction
from mailer.ledger.dialect import Room
from mailer.ledger.reading import campaigns_where
from mailer.ledger.rows import address_hash
from mailer.ledger.schema import blob, campaign, message, recipient, serial, single, tally
from mailer.ledger.statements import one_of
from mailer.ledger.together import Together
from mailer.message import WAITING, Phase, State

_LIVE = campaign.c.state.in_(
    [literal_column(f"'{state.value}'") for state in (CampaignState.RUNNING, CampaignState.PAUSED)]
)

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
_NUMBERS = _NUMBERS_ANYWAY.where(exists().where(campaign.c.id == serial.c.campaign_id, _LIVE))

_CANCEL = (
    update(message)
    .where(
        message.c.id == bindparam("row"),
        message.c.state == bindparam("was"),
        func.coalesce(message.c.phase, "") != literal(Phase.ANSWER.value),
    )
    .values(
        state=literal(State.CANCELLED.value),
        settled_at=bindparam("now"),
        reason=literal("The application cancelled it."),
    )
)

_SINGLE = ("message_id", "public", "scope", "key", "fingerprint")
_MESSAGE = ("id", "campaign_id", "lane", "due_at", "state")
_RECIPIENT = ("id", "line", "address", "cells", "address_hash")
_CAMPAIGN = (*NewCampaign.__dataclass_fields__, "state", "created_at", "started_at")


@dataclass(frozen=True, slots=True)
class Single:
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


@dataclass(frozen=True, slots=True)
class Added:
    """``created`` False: the key was known, and ``public`` names the message that had it first."""

    public: str
    id: int  # of its row; 0 when it is not new
    created: bool


@dataclass(frozen=True, slots=True)
class Group:
    """What one asker hands over together. ``contents`` by their name are stored with it, as ``Blobs`` does;
    of a group in which nothing is new they are not."""

    singles: Sequence[Single]
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class CampaignClosed(StateConflict):
    """``CampaignClosed(campaign_id)``: it was cancelled, and takes no more messages."""


class _Raced(Exception):
    """Another process took the same key in this very moment: look again."""


#: (scope, key) -> (public, fingerprint)
_Keys = dict[tuple[str, str], tuple[str, str]]


@dataclass(slots=True, eq=False)
class _Ask:
    group: Group
    added: list[Added] = field(default_factory=list)
    error: BaseException | None = None


class Singles:
    """Safe for threads: what several hand over at the same time shares one commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together = Together(self._write)

    def campaign(self, new: NewCampaign) -> Campaign:
        """The open campaign of this digest, made if there is none; from now on its runner is ``new``'s."""
        with self._database.write() as tx:
            tx.alone(Room.OPENING)
            found = _open(tx, new.digest) or _made(tx, new)
        if found.runner is not new.runner:
            with self._database.write(found.id) as tx:
                steering.set_runner(tx, found.id, new.runner)
        return found

    def add(self, singles: Sequence[Single]) -> list[Added]:
        """All of them or none, durably. Raises IdempotencyConflict; CampaignClosed; LedgerError."""
        (added,) = self.add_each([Group(singles)])
        if isinstance(added, BaseException):
            raise added
        return added

    def add_each(self, groups: Sequence[Group]) -> list[list[Added] | BaseException]:
        """Each group as ``add`` would, all in one commit; what it would have raised is in its place."""
        asks = [_Ask(group) for group in groups]
        self._together.put(asks)
        return [ask.added if ask.error is None else ask.error for ask in asks]

    def find(self, public: str) -> int | None:
        """The row of this name."""
        with self._database.read() as connection:
            return connection.execute(select(single.c.message_id).where(single.c.public == public)).scalar()

    def cancel(self, message_id: int) -> bool:
        """True: it was waiting, and will not be sent. False: it is on its way, may have been sent, or is
        settled."""
        with self._database.write() as tx:
            tx.share([campaign_of(message_id)])
            for state in WAITING:
                if tx.run(_CANCEL, row=message_id, was=state.value, now=tx.now):
                    tx.moved(campaign_of(message_id), state, State.CANCELLED)
                    return True
        return False

    def _write(self, asks: Sequence[_Ask]) -> None:
        """What one asker did wrong is his alone; what fails for all is tried for each alone."""
        try:
            self._write_together(asks)
        except BaseException as error:  # noqa: BLE001 - every asker must hear of it, whatever it is
            if len(asks) == 1 or isinstance(error, LedgerBusy):
                for ask in asks:
                    ask.error = error
            else:
                for ask in asks:
                    self._write([ask])

    def _write_together(self, asks: Sequence[_Ask]) -> None:
        for _ in range(5):
            try:
                with self._database.write() as tx:
                    tx.share(one.campaign_id for ask in asks for one in ask.group.singles)
                    _answer(tx, asks)
                return
            except _Raced:
                continue
        raise LedgerError("the same idempotency key is being used by several processes at once: try again")


def _answer(tx: Transaction, asks: Sequence[_Ask]) -> None:
    """The rows of all go in together: a statement costs more than a row."""
    known = _known(tx, [one for ask in asks for one in ask.group.singles])
    fresh: list[Single] = []
    contents: dict[str, bytes] = {}
    for ask in asks:
        ask.error = None
        try:
            ask.added, new = _sorted_out(ask.group.singles, known)
        except IdempotencyConflict as error:
            ask.error = error
            continue
        fresh += new
        if new:
            contents |= ask.group.contents
    ids = _insert(tx, fresh, State.PENDING) if fresh else {}
    for ask in asks:
        ask.added = _with_rows(ask.added, ids)
    if contents:
        tx.dialect.insert_new(tx.cursor, blob.name, ("sha256", "data"), sorted(contents.items()))


def add(tx: Transaction, singles: Sequence[Single], state: State = State.PENDING) -> list[Added]:
    """As ``Singles.add``; a cancelled campaign takes what is CANCELLED. Nothing is written before all of them
    are known to be right."""
    added, fresh = _sorted_out(singles, _known(tx, singles))
    return _with_rows(added, _insert(tx, fresh, state))


def _sorted_out(singles: Sequence[Single], known: _Keys) -> tuple[list[Added], list[Single]]:
    """What each comes to, without its row, and those that are new; ``known`` gets their keys."""
    added: list[Added] = []
    fresh: list[Single] = []
    keys: _Keys = {}
    for one in singles:
        name = (one.scope, one.key or "")
        found = None if one.key is None else keys.get(name) or known.get(name)
        if found is None:
            fresh.append(one)
            added.append(Added(one.public, 0, True))
            if one.key is not None:
                keys[name] = (one.public, one.fingerprint)
        elif found[1] != one.fingerprint:
            raise IdempotencyConflict(
                f"the idempotency key {one.key!r} was used for another message: give this one its own key"
            )
        else:
            added.append(Added(found[0], 0, False))
    known.update(keys)
    return added, fresh


def _with_rows(added: Sequence[Added], ids: Mapping[str, int]) -> list[Added]:
    # Whoever handed over the same under the same key in the same commit did not make it.
    return [Added(one.public, ids.get(one.public, 0) if one.created else 0, one.created) for one in added]


def _known(tx: Transaction, singles: Sequence[Single]) -> _Keys:
    keys: dict[str, list[str]] = defaultdict(list)
    for one in singles:
        if one.key is not None:
            keys[one.scope].append(one.key)
    known = {}
    for scope, wanted in keys.items():
        for key, public, fingerprint in tx.rows(_KNOWN, whose=scope, keys=tx.array(wanted)):
            known[scope, key] = (public, fingerprint)
    return known


def _insert(tx: Transaction, fresh: Sequence[Single], state: State) -> Mapping[str, int]:
    """Their row ids by public name."""
    numbered = _numbered(tx, fresh, _NUMBERS if state is State.PENDING else _NUMBERS_ANYWAY)
    names = [(id_, one.public, one.scope, one.key, one.fingerprint) for id_, one in numbered]
    if not tx.dialect.append(tx.cursor, single.name, _SINGLE, names):
        raise _Raced
    messages = [(id_, campaign_of(id_), one.lane, one.due_at, state.value) for id_, one in numbered]
    recipients = [
        (id_, id_ & 0xFFFFFFFF, one.address, one.cells, address_hash(one.address)) for id_, one in numbered
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


def _open(tx: Transaction, digest: str) -> Campaign | None:
    found = campaigns_where(tx.connection, campaign.c.digest == digest, _LIVE)
    return found[-1] if found else None


def _made(tx: Transaction, new: NewCampaign) -> Campaign:
    """Under its slug, or with a number behind it when one of that name was cancelled."""
    values = {name: getattr(new, name) for name in new.__dataclass_fields__}
    values |= {"spec": json.dumps(dict(new.spec)), "runner": new.runner.value}
    values |= {"state": CampaignState.RUNNING.value, "created_at": tx.now, "started_at": tx.now}
    slug = new.slug
    for number in range(2, 1000):
        row = tuple((values | {"slug": slug})[name] for name in _CAMPAIGN)
        tx.dialect.insert_new(tx.cursor, campaign.name, _CAMPAIGN, [row])
        found = _open(tx, new.digest)  # it, or the one that another process made in this moment
        if found is not None:
            states = [(found.id, state.value, slot, 0) for state in State for slot in range(tx.dialect.slots)]
            tx.dialect.insert_new(tx.cursor, tally.name, ("campaign_id", "state", "slot", "n"), states)
            tx.dialect.insert_new(tx.cursor, serial.name, ("campaign_id", "last"), [(found.id, 0)])
            return found
        slug = f"{new.slug}-{number}"
    raise StateConflict(f"campaigns named {new.slug!r} were cancelled too often")
