"""The box that is the ledger: messages become rows of campaigns that stay open."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from mailer.content.identity import sending_domain
from mailer.content.snapshot import pack
from mailer.errors import ConfigError, FieldError, InputError, SenderRefused, UnknownMessage
from mailer.ledger.contract import Attempt, NewCampaign, Result, Runner
from mailer.ledger.ledger import Ledger
from mailer.ledger.single_rows import CampaignClosed, Single
from mailer.message import FINAL, WAITING, State
from mailer.outbox.contract import Message, Receipt, Status, Try
from mailer.outbox.door import Checked, checked, named_senders
from mailer.outbox.kinds import Kinds

#: Rows of one hint of the pump, when many wait: bounded, because each may hold attachments.
RECIPIENTS_PER_TASK = 10

#: Told, after the commit, which rows are new, and in which stream.
Announce = Callable[[Sequence[int], str], None]


class Office:
    """Implements ``Box`` over a ledger.

    ``backend`` says under which name the ledger knows the backend wished for in a stream, ``knows_keys`` for
    how long that one knows idempotency keys, as the wiring does. ``client`` keeps the keys of several
    applications apart.
    """

    def __init__(
        self,
        ledger: Ledger,
        kinds: Kinds,
        *,
        runner: Runner,
        backend: Callable[[str | None, str], str],
        announce: Announce,
        knows_keys: Callable[[str | None, str], Mapping[str, Any] | None] = lambda _, __: None,
        client: str = "",
    ) -> None:
        self._ledger = ledger
        self._kinds = kinds
        self._runner = runner
        self._backend = cache(backend)  # looked up once: half of what else is done per message
        self._announce = announce
        self._knows_keys = knows_keys
        self._client = client
        self._campaigns: dict[tuple[Any, ...], int] = {}
        self._lock = threading.Lock()

    def put_through(self, connection: Any, messages: Sequence[Message]) -> list[Receipt]:
        """Inside the application's own transaction: they exist when that commits, and the pump finds them
        within about a second."""
        ready = [self._single(checked(message, self._kinds)) for message in messages]
        added = self._ledger.handover.put(connection, ready)
        return [Receipt(row.public, row.created) for row in added]

    def put(self, messages: Sequence[Message]) -> list[Receipt]:
        """See ``Box``. Raises ConfigError when no backend is set up."""
        return self._stored([checked(message, self._kinds) for message in messages])

    def put_each(
        self,
        messages: Sequence[Message],
        *,
        scope: str,
        fingerprint: str | None,
        may_send_as: Callable[[str], bool],
    ) -> list[Receipt | InputError]:
        """Those that are right are stored, all or none of them; an error stands in place of each other.

        ``scope`` keeps idempotency keys apart, ``fingerprint`` is what all these keys stand for, in
        place of each message's own. Raises IdempotencyConflict, ConfigError, LedgerError."""
        looked = [self._looked_at(message, fingerprint, may_send_as) for message in messages]
        ready = [one for one in looked if isinstance(one, Checked)]
        receipts = iter(self._stored(ready, scope) if ready else ())
        return [next(receipts) if isinstance(one, Checked) else one for one in looked]

    def _looked_at(
        self, message: Message, fingerprint: str | None, may_send_as: Callable[[str], bool]
    ) -> Checked | InputError:
        try:
            one = checked(message, self._kinds, fingerprint)
        except InputError as error:
            return error
        refused = (field for field, address in named_senders(one) if not may_send_as(address))
        if (field := next(refused, None)) is not None:
            return SenderRefused("this key may not send from this address", column=field)
        return one

    def _stored(self, ready: Sequence[Checked], scope: str | None = None) -> list[Receipt]:
        try:
            added = self._ledger.singles.add([self._single(one, scope) for one in ready])
        except CampaignClosed:  # cancelled by a person: what comes now belongs to a new one
            self._campaigns.clear()
            added = self._ledger.singles.add([self._single(one, scope) for one in ready])
        self._tell((one.stream, row.id) for one, row in zip(ready, added, strict=True) if row.created)
        return [Receipt(row.public, row.created) for row in added]

    def status(self, id_: str) -> Status:
        if address := self._ledger.handover.find(id_):
            return Status(id_, State.PENDING, address)
        found = self._ledger.results.one(self._row(id_))
        if found is None:
            raise UnknownMessage(f"there is no message {id_!r}")
        result, earlier = found
        letter = json.loads(result.cells)
        return Status(
            id=id_,
            state=result.state,
            to=result.address,
            attempts=_tries(result, earlier),
            reason=result.reason,
            outcome=result.outcome,
            due_at=_time(result.due_at) if result.due_at and result.state in WAITING else None,
            message_id=letter.get("message_id"),
            template=letter.get("template"),
            tags=tuple(letter.get("tags", ())),
            metadata=letter.get("metadata", {}),
            reference=result.reference,
        )

    def cancel(self, id_: str) -> bool:
        return self._ledger.handover.cancel(id_) or self._ledger.singles.cancel(self._row(id_))

    def _row(self, id_: str) -> int:
        found = self._ledger.singles.find(id_)
        if found is None:
            raise UnknownMessage(f"there is no message {id_!r}")
        return found

    def _tell(self, rows: Iterable[tuple[str, int]]) -> None:
        new: dict[str, list[int]] = {}
        for stream, row in rows:
            new.setdefault(stream, []).append(row)
        for stream, ids in new.items():
            self._announce(ids, stream)

    def _single(self, one: Checked, scope: str | None = None) -> Single:
        return Single(
            public=one.id,
            campaign_id=self._campaign(one),
            address=one.to.addr,
            lane=one.to.lane,
            cells=one.cells,
            due_at=one.due_at,
            scope=f"{self._client}/{one.stream}" if scope is None else scope,
            key=one.key,
            fingerprint=one.fingerprint,
        )

    def _campaign(self, one: Checked) -> int:
        backend = self._carrier(one.backend, one.stream)
        kind = one.kind
        parts = (kind.name, kind.digest, one.sender, one.stream, backend, one.on_unknown, one.sensitive)
        if (known := self._campaigns.get(parts)) is not None:
            return known
        with self._lock:
            if parts not in self._campaigns:
                digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
                self._campaigns[parts] = self._opened(one, backend, digest)
            return self._campaigns[parts]

    def _carrier(self, wish: str | None, stream: str) -> str:
        try:
            return self._backend(wish, stream)
        except ConfigError as error:
            if wish is None:
                raise
            raise FieldError(str(error), column="backend") from None

    def _opened(self, one: Checked, backend: str, digest: str) -> int:
        kind = one.kind
        mail = kind.mail
        if sending_domain(mail.sender) != one.sender:
            # For the limits of that domain; messages name their own sender.
            mail = replace(mail, sender=f"mail@{one.sender}")
        package, blobs = pack(kind.package, mail)
        name = kind.name or "messages"
        new = NewCampaign(
            slug=f"{name.replace('/', '-').lower()}-{one.sender}-{digest[:6]}",
            name=f"{name} from {one.sender}",
            digest=digest,
            spec=_spec(one, backend, package, str(self._kinds.files_root))
            | {"knows_keys": self._knows_keys(one.backend, one.stream)},
            runner=self._runner,
            stream=one.stream,
            backend=backend,
        )
        return self._ledger.singles.campaign(new, blobs).id


def _spec(one: Checked, backend: str, package: dict[str, Any], files_root: str) -> dict[str, Any]:
    return {
        "letters": True,  # rows come one by one, and it never finishes
        "package": package,
        "mail": package["spec"],
        "backend": backend,
        "on_unknown": one.on_unknown,
        "sensitive": one.sensitive,
        "files_root": files_root,
        "recipients_per_task": RECIPIENTS_PER_TASK,
        "recipients": {"headers": ["id", "to", "template"]},
    }


def _tries(result: Result, earlier: Sequence[Attempt]) -> tuple[Try, ...]:
    tries = [_try(attempt, attempt.number, attempt.at) for attempt in earlier]
    if result.state in FINAL and result.attempts > len(earlier) and result.settled_at is not None:
        tries.append(_try(result, len(earlier) + 1, result.settled_at))
    return tuple(tries)


def _try(one: Attempt | Result, number: int, at: float) -> Try:
    return Try(
        number=number,
        at=_time(at),
        state=one.state,
        phase=one.phase,
        code=one.code,
        enhanced=one.enhanced,
        text=one.reply,
        backend=one.backend,
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
