"""An engine with everything around it: what one process needs to deliver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from mailer.backends import connect, urls
from mailer.backends.contract import Backend, BackendConfig
from mailer.content.contract import Composer, MailSpec, Package
from mailer.delivery.circuits import Circuits
from mailer.delivery.compositions import Composition, Compositions, composition
from mailer.delivery.connections import Connections
from mailer.delivery.contract import Limiter
from mailer.delivery.engine import Engine
from mailer.delivery.fleet import Fleet, not_set_up
from mailer.delivery.limits.exchange import SharedStore
from mailer.delivery.limits.plan import BackendRates, Limits, SenderRates
from mailer.delivery.limits.shares import BULK, Lot
from mailer.delivery.observer import Observer
from mailer.delivery.routes import Route, Router
from mailer.delivery.safety import UNRESTRICTED, Safety
from mailer.delivery.throttle import Throttle
from mailer.errors import ConfigError
from mailer.ledger.contract import Campaign
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit

#: How child processes log, and how much.
PLAIN_LOGS = ("text", "warning")


@dataclass(frozen=True, slots=True)
class StationConfig:
    """Everything a process must be told; survives pickling, so a child process can be told it."""

    ledger_url: str
    worker: str
    backends: Mapping[str, BackendConfig] = field(repr=False)
    rates: Mapping[str, BackendRates] = field(default_factory=dict)
    senders: Mapping[str, SenderRates] = field(default_factory=dict)  # limits by sender domain
    limits_url: str | None = field(default=None, repr=False)  # a Redis; None: the ledger remembers them
    routes: Mapping[str, Route] = field(default_factory=dict)
    lots: Mapping[str, Lot] = field(default_factory=dict)  # connections that are leased, by backend
    stream: str = BULK  # what leases are for
    safety: Safety = UNRESTRICTED
    lease_seconds: float = 60.0
    logs: tuple[str, str] = PLAIN_LOGS  # of child processes: form and level
    files_root: str | None = None  # overrides what the campaign recorded: a mount that all machines share

    def share(self, number: int, of: int) -> StationConfig:
        """The part of child ``number``: its own name, and its share of each backend's connections."""
        return replace(
            self,
            worker=f"{self.worker}/{number}",
            backends={
                name: replace(backend, connections=_share(backend.connections, number, of))
                for name, backend in self.backends.items()
            },
        )


def _share(total: int, number: int, of: int) -> int:
    return max(1, total // of + (number < total % of))


class Station:
    """Opens nothing before the first message. Its parts are started and closed by whoever has it."""

    def __init__(self, config: StationConfig, writer: GroupCommit, observer: Observer | None = None) -> None:
        self.writer = writer
        limits = _limits(config)
        limiter, store = _shared(limits, config.limits_url, writer)
        self.throttle = _throttle(config, limits, limiter)
        backends = {name: connect(backend) for name, backend in config.backends.items()}
        self.connections = Connections(store, backends, config.lots, name=config.worker, stream=config.stream)
        self.circuits = Circuits(store, name=config.worker)
        self.engine = Engine(
            writer,
            Compositions(loader(writer, config.files_root)),
            Fleet(backends, connect=by_url, routes=config.routes, circuits=self.circuits),
            worker=config.worker,
            throttle=self.throttle,
            safety=config.safety,
            lease_seconds=config.lease_seconds,
            observer=observer,
        )


def by_url(name: str) -> Backend:
    """A backend that is named by its URL, as ``--backend URL`` does; such a one has no login."""
    return connect(urls.parse(name, name)) if ":" in name else not_set_up(name)


def make_throttle(config: StationConfig, writer: GroupCommit) -> Throttle:
    """Raises ConfigError for a rate or a Redis that cannot be used."""
    limits = _limits(config)
    return _throttle(config, limits, _shared(limits, config.limits_url, writer)[0])


def _throttle(config: StationConfig, limits: Limits, limiter: Limiter) -> Throttle:
    throttle = Throttle(limits, limiter)
    throttle.via = Router(config.routes, {}, time.time).leading  # where no engine says better
    return throttle


def _limits(config: StationConfig) -> Limits:
    rates = {name: BackendRates(backend.rates) for name, backend in config.backends.items()}
    return Limits({**rates, **config.rates}, config.senders)


def _shared(limits: Limits, url: str | None, writer: GroupCommit) -> tuple[Limiter, SharedStore]:
    """What processes share: in the ledger, or in this Redis."""
    from mailer.delivery.limits.ledger import LedgerCopies, LedgerLimiter, LedgerStore

    if url is None:
        return LedgerLimiter(limits, writer), LedgerStore(writer)
    try:
        from mailer.delivery.limits.redis import RedisLimiter, RedisStore
    except ModuleNotFoundError as missing:
        said = f"limits in Redis need {missing.name!r}: pip install 'mailer-worker[worker]'"
        raise ConfigError(said) from missing
    limiter = RedisLimiter(limits, url, LedgerCopies(writer))
    return limiter, RedisStore(limiter.filling)


def loader(writer: GroupCommit, files_root: str | None = None) -> Callable[[int], Awaitable[Composition]]:
    """Reads a campaign from the ledger and compiles it, off the event loop."""
    from mailer.content import compile as compile_mail
    from mailer.content import letters
    from mailer.content.snapshot import unpack

    def read(ledger: Ledger, campaign_id: int) -> tuple[Campaign, Package, MailSpec]:
        campaign = ledger.campaigns.by_id(campaign_id)
        package, spec = unpack(campaign.spec["package"], ledger.blobs.get)
        return campaign, package, spec

    async def load(campaign_id: int) -> Composition:
        campaign, package, spec = await writer.run(lambda ledger: read(ledger, campaign_id))
        root = files_root or campaign.spec.get("files_root")
        compiled = letters.composer if campaign.spec.get("letters") else compile_mail
        composer: Composer = await asyncio.to_thread(compiled, package, spec, files_root=root)
        return composition(campaign, spec, composer)

    return load
