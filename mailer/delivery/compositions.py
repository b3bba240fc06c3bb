"""What the engine needs to know of a campaign, compiled once per campaign and process."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from mailer.content.columns import identifier
from mailer.content.contract import Composer, Identity, MailSpec, RowFile
from mailer.content.identity import Identities, identities, identity_of_letter, sending_domain
from mailer.delivery.retry import RetryPolicy, policy_for
from mailer.errors import ContentError
from mailer.ledger.contract import Campaign, Row, ordinal_of
from mailer.message import Dsn, Outgoing

#: Campaigns that stay compiled at once; the one not used for longest goes first.
KEPT = 32


_NONE: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Composition:
    """A campaign at one revision, ready to make messages. Immutable, shared by all slices."""

    campaign_id: int
    slug: str
    version: int
    revision: int
    stream: str
    backend: str
    composer: Composer
    identities: Identities
    policy: RetryPolicy
    resend_unknown: bool
    expires_at: float | None
    rates: tuple[str, ...]
    dsn: Dsn | None = None
    letters: bool = False  # each row is a message by itself, with an identity and an end of its own
    sensitive: bool = False  # what a message was made of is erased when it has ended
    finished: bool = False  # rows name finished bytes among the blobs; nothing is rendered

    def contents(self, rows: Sequence[Row]) -> set[str]:
        """The blobs that composing these rows needs."""
        return {_cells(row)["content"] for row in rows} if self.finished else set()

    def compose(self, row: Row, fence: int, contents: Mapping[str, bytes] = _NONE) -> Outgoing:
        """The message of this row; ``contents`` has its blobs. Raises ContentError."""
        cells = _cells(row) if self.letters else _texts(row)
        if self.finished:
            return self._finished(row, fence, cells, contents)
        identity = identity_of_letter(cells) if self.letters else self.identity(row.id)
        composed = self.composer.compose(cells, row.address, identity, _files(row))
        return Outgoing(
            id=row.id,
            fence=fence,
            sender=composed.sender,
            recipients=composed.recipients,
            content=composed.content,
            message_id=identity.message_id,
            attempt=row.attempts + 1,
            eight_bit=composed.eight_bit,
            smtputf8=composed.smtputf8,
            dsn=None if self.dsn is None else replace(self.dsn, envid=identity.seed),
            # The same on every attempt, another for other content: what providers ask of such a key.
            idempotency_key=f"{identity.seed}.{self.version}",
            variables=_of_letter(cells, row.address) if self.letters else _named(cells),
            campaign=self.slug,
            **(_marks(cells) if self.letters else {}),  # a column of a campaign may have any name
        )

    def _finished(
        self, row: Row, fence: int, cells: Mapping[str, Any], contents: Mapping[str, bytes]
    ) -> Outgoing:
        """As it was handed over, to this recipient."""
        data = contents.get(cells["content"])
        if data is None:
            raise ContentError("its content is missing from the ledger: restore it from a backup")
        return Outgoing(
            id=row.id,
            fence=fence,
            sender=cells["from"],
            recipients=(row.address,),
            content=data,
            message_id=cells["message_id"],
            attempt=row.attempts + 1,
            eight_bit=cells["eight_bit"],
            smtputf8=cells["smtputf8"],
            idempotency_key=f"{cells['id']}.{self.version}",
            campaign=self.slug,
            **_marks(cells),
        )

    def expires(self, row: Row) -> float | None:
        """When this row is not to be sent any more."""
        own = _cells(row).get("expires_at") if self.letters else None
        return self.expires_at if own is None else own

    def identity(self, message_id: int) -> Identity:
        return self.identities.of(ordinal_of(message_id))


@lru_cache(maxsize=256)
def _identifiers(headings: tuple[str, ...]) -> tuple[str, ...]:
    """The rows of a campaign share them."""
    return tuple(map(identifier, headings))


def _named(cells: Mapping[str, Any]) -> dict[str, Any]:
    """As templates call them."""
    return dict(zip(_identifiers(tuple(cells)), cells.values(), strict=True))


def _of_letter(cells: Mapping[str, Any], to: str) -> dict[str, Any]:
    return {"email": to, **cells.get("data", {})}


def _cells(row: Row) -> Mapping[str, Any]:
    cells: Mapping[str, Any] = json.loads(row.cells)
    return cells


def _texts(row: Row) -> Mapping[str, Any]:
    """A campaign's are all texts: orjson reads those as the standard library does, which takes four times as
    long. Numbers that it would read otherwise stand in letters alone."""
    cells: Mapping[str, Any] = orjson.loads(row.cells)
    return cells


def _marks(cells: Mapping[str, Any]) -> dict[str, Any]:
    return {"tags": tuple(cells.get("tags", ())), "metadata": tuple(cells.get("metadata", {}).items())}


def _files(row: Row) -> tuple[RowFile, ...]:
    if row.files is None:
        return ()
    try:
        return tuple(RowFile(**file) for file in json.loads(row.files))
    except (TypeError, ValueError) as error:
        raise ContentError("the recorded attachments of this row cannot be read") from error


def composition(campaign: Campaign, mail: MailSpec, composer: Composer) -> Composition:
    """Read what the face wrote into the campaign's spec."""
    spec = campaign.spec
    began = campaign.created_at if campaign.started_at is None else campaign.started_at
    lifetime = spec.get("expires_in")
    return Composition(
        campaign_id=campaign.id,
        slug=campaign.slug,
        version=campaign.version,
        revision=campaign.revision,
        stream=campaign.stream,
        backend=campaign.backend,
        composer=composer,
        identities=identities(
            digest=campaign.digest,
            slug=campaign.slug,
            date=began,
            sender=mail.sender,
            return_path=mail.envelope_sender,
        ),
        policy=policy_for(campaign.stream, spec.get("retry")),
        resend_unknown=spec.get("on_unknown", "hold") == "retry",
        expires_at=None if lifetime is None else began + float(lifetime),
        rates=tuple(spec.get("rates") or ()),
        dsn=_dsn(mail),
        letters=bool(spec.get("letters")),
        sensitive=bool(spec.get("sensitive")),
        finished=bool(spec.get("finished")),
    )


def sender_domain(campaign: Campaign) -> str:
    """The domain whose limits hold for a campaign; the same that its compositions have."""
    mail = campaign.spec.get("mail") or {}
    return sending_domain(str(mail.get("sender") or ""), mail.get("envelope_sender"))


def _dsn(mail: MailSpec) -> Dsn | None:
    if not mail.dsn_notify and not mail.dsn_ret:
        return None
    return Dsn(notify=tuple(mail.dsn_notify), ret=mail.dsn_ret)


class Compositions:
    """A bounded cache. ``load`` reads and compiles one campaign; two slices never do so at once."""

    def __init__(self, load: Callable[[int], Awaitable[Composition]], *, kept: int = KEPT) -> None:
        self._load = load
        self._kept = kept
        self._known: OrderedDict[int, asyncio.Future[Composition]] = OrderedDict()

    async def get(self, campaign_id: int) -> Composition:
        """Raises what loading raised; the next call tries again."""
        future = self._known.get(campaign_id)
        if future is None:
            future = asyncio.ensure_future(self._load(campaign_id))
            self._known[campaign_id] = future
            self._trim()
        self._known.move_to_end(campaign_id)
        try:
            # Shielded: a slice that is cancelled must not take the others' composition with it.
            return await asyncio.shield(future)
        except Exception:
            self.forget(campaign_id)
            raise

    def forget(self, campaign_id: int) -> None:
        """The campaign has changed: load it anew."""
        self._known.pop(campaign_id, None)

    def _trim(self) -> None:
        while len(self._known) > self._kept:
            self._known.popitem(last=False)
