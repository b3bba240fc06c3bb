"""Messages that applications hand over one by one: rows of campaigns that stay open.

Such a campaign has no opening and no end: it runs as soon as it exists, and rows come while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, func, literal, select, update

from mailer.errors import IdempotencyConflict, LedgerBusy, LedgerError
from mailer.ledger import erasing, single_campaigns, steering
from mailer.ledger.contents import NOTHING, keep
from mailer.ledger.contract import Campaign, NewCampaign, campaign_of
from mailer.ledger.database import Database
from mailer.ledger.dialect import Room
from mailer.ledger.schema import message, single
from mailer.ledger.single_rows import Added, Raced, Single, insert, known_keys, sorted_out, with_rows
from mailer.ledger.together import Together
from mailer.ledger.transaction import Transaction
from mailer.message import WAITING, Phase, State

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


@dataclass(frozen=True, slots=True)
class Group:
    """What one asker hands over together. ``contents`` by their name are stored with it, as ``Blobs`` does;
    of a group in which nothing is new they are not."""

    singles: Sequence[Single]
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)


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

    def campaign(self, new: NewCampaign, made_of: Mapping[str, bytes] = NOTHING) -> Campaign:
        """The open campaign of this digest, made of these contents if there is none; from now on its runner
        is ``new``'s."""
        with self._database.write() as tx:
            tx.alone(Room.OPENING)
            keep(tx, made_of)
            found = single_campaigns.found_open(tx, new.digest) or single_campaigns.made(tx, new)
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
                    erasing.ended(tx, campaign_of(message_id), [message_id])
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
            except Raced:
                continue
        raise LedgerError("the same idempotency key is being used by several processes at once: try again")


def _answer(tx: Transaction, asks: Sequence[_Ask]) -> None:
    """The rows of all go in together: a statement costs more than a row."""
    known = known_keys(tx, [one for ask in asks for one in ask.group.singles])
    fresh: list[Single] = []
    contents: dict[str, bytes] = {}
    for ask in asks:
        ask.error = None
        try:
            ask.added, new = sorted_out(ask.group.singles, known)
        except IdempotencyConflict as error:
            ask.error = error
            continue
        fresh += new
        if new:
            contents |= ask.group.contents
    ids = insert(tx, fresh, State.PENDING) if fresh else {}
    for ask in asks:
        ask.added = with_rows(ask.added, ids)
    if contents:
        keep(tx, contents)
