"""A small world for tests of delivery: a ledger on disk, campaigns, backends that do as they are told."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailer.backends.contract import Backend, BackendLimits
from mailer.content.contract import Composed, Identity, MailSpec, Package, RowFile
from mailer.content.snapshot import pack
from mailer.delivery.compositions import Composition, Compositions, composition
from mailer.delivery.engine import Engine
from mailer.delivery.fleet import Fleet
from mailer.errors import ContentError
from mailer.ledger import open_ledger
from mailer.ledger.contract import Campaign, NewCampaign, NewRow, Result, Runner, row_id
from mailer.ledger.writer import GroupCommit
from mailer.message import Accepted, Fenced, Mark, Outcome, Outgoing, Reply, State
from tests.ledgers import empty_sqlite

SPEC = MailSpec(sender="Acme News <news@acme.example>", subject="For {{ email }}")
PACKAGE = Package("letter", {"letter/body.txt": b"Dear {{ email }}, this is row {{ n }}.\n"})


class Clock:
    """Real time, and what a test adds to it; once it stands, only that."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._stands: float | None = None

    def __call__(self) -> float:
        return (time.time() if self._stands is None else self._stands) + self.ahead

    def stand(self) -> None:
        """From now on time passes only where the test says so: a rest of two seconds is not over before the
        next line, however busy the machine is."""
        self._stands = time.time()


class PlainComposer:
    """Makes a message without templates. A cell ``broken`` makes its row impossible."""

    def compose(
        self, cells: Mapping[str, Any], to: str, identity: Identity, files: Sequence[RowFile] = ()
    ) -> Composed:
        if cells.get("broken"):
            raise ContentError(cells["broken"])
        recipients = (to, *cells.get("copies", ()))
        data = f"Message-ID: {identity.message_id}\r\nSubject: {cells['n']}\r\n\r\nHello\r\n"
        return Composed("news@acme.example", recipients, data.encode())

    def used(self) -> frozenset[str]:
        return frozenset()


Hook = Callable[[Outgoing], Awaitable[None]]


def accepted(message: Outgoing) -> Accepted:
    return Accepted(Reply("ok", code=250), message.message_id)


@dataclass
class ScriptedBackend:
    """Asks ``script`` for each outcome; awaits ``before_mark`` and ``after_mark`` on the way."""

    script: Callable[[Outgoing], Outcome | Exception] = accepted
    before_mark: Hook | None = None
    after_mark: Hook | None = None
    limits: BackendLimits = field(default_factory=lambda: BackendLimits(concurrency=2))
    sent: list[Outgoing] = field(default_factory=list)

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> list[Outcome]:
        return [await self._one(message, mark) for message in batch]

    async def _one(self, message: Outgoing, mark: Mark) -> Outcome:
        if self.before_mark:
            await self.before_mark(message)
        outcome = self.script(message)
        if isinstance(outcome, Exception):
            raise outcome
        if not await mark(message):
            return Fenced()
        self.sent.append(message)
        if self.after_mark:
            await self.after_mark(message)
        return outcome

    async def probe(self) -> str:
        return "scripted"

    async def close(self) -> None: ...

    def copies(self) -> Counter[str]:
        """How often each recipient was sent to."""
        return Counter(message.recipients[0] for message in self.sent)


class World:
    """One ledger and what a test does with it."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """The ledger is ``url``, or a file in ``folder``."""
        self.clock = Clock()
        self.url = url or f"sqlite:///{folder}/mailer.db"
        if not url and not Path(folder, "mailer.db").exists():
            shutil.copy(empty_sqlite(), Path(folder, "mailer.db"))
        self.ledger = open_ledger(self.url, clock=self.clock)
        self.writer = GroupCommit(self.ledger)
        self.backend = ScriptedBackend()
        self._engines: list[Engine] = []
        self._campaigns = 0

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()
        await self.writer.close()
        self.ledger.close()

    def campaign(
        self,
        rows: int | Sequence[Mapping[str, Any]] = 5,
        *,
        backend: str = "main",
        stream: str = "bulk",
        runner: Runner = Runner.WORKERS,
        address: str = "person-{n}@lane-{lane}.example",
        lanes: int = 1,
        start_at: float | None = None,
        **spec: Any,
    ) -> Campaign:
        """A running campaign with these rows; keywords go into its spec."""
        self._campaigns += 1
        name = f"campaign-{self._campaigns}"
        snapshot, blobs = pack(PACKAGE, SPEC)
        content = {"mail": snapshot["spec"], "package": snapshot, "backend": backend} | spec
        campaign = self.ledger.campaigns.create(
            NewCampaign(name, name, name, content, runner, stream, backend, start_at=start_at), blobs
        )
        cells = [{} for _ in range(rows)] if isinstance(rows, int) else rows
        self.ledger.campaigns.add_rows(
            campaign.id,
            (
                self._row(n, address.format(n=n, lane=n % lanes), f"lane-{n % lanes}", own)
                for n, own in enumerate(cells, 1)
            ),
        )
        return self.ledger.campaigns.opened(campaign.id, 0)

    @staticmethod
    def _row(n: int, address: str, lane: str, own: Mapping[str, Any]) -> NewRow:
        return NewRow(n, n + 1, address, lane, json.dumps({"email": address, "n": n} | dict(own)))

    def engine(self, backends: Mapping[str, Backend] | None = None, **settings: Any) -> Engine:
        """An engine whose mail needs no templates; closed with the world."""
        settings = {"worker": f"engine-{len(self._engines)}", "clock": self.clock} | settings
        about = {name: settings.pop(name) for name in ("connect", "routes", "circuits") if name in settings}
        fleet = Fleet(backends or {"main": self.backend}, clock=settings["clock"], **about)
        engine = Engine(self.writer, Compositions(self._load), fleet, **settings)
        self._engines.append(engine)
        return engine

    async def _load(self, campaign_id: int) -> Composition:
        campaign = await self.writer.run(lambda ledger: ledger.campaigns.by_id(campaign_id))
        return composition(campaign, SPEC, PlainComposer())

    @staticmethod
    def ids(campaign: Campaign, count: int = 5) -> list[int]:
        return [row_id(campaign.id, n) for n in range(1, count + 1)]

    def rows(self, campaign: Campaign) -> list[Result]:
        return list(self.ledger.results.rows(campaign.id))

    def states(self, campaign: Campaign) -> dict[State, int]:
        """Rows by state, without the states that nobody is in."""
        counts = self.ledger.campaigns.counts(campaign.id).states
        return {state: n for state, n in counts.items() if n}

    def now(self, campaign: Campaign) -> Campaign:
        """The campaign as it is now."""
        return self.ledger.campaigns.by_id(campaign.id)
