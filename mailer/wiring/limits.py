"""What may leave, how fast and over how many connections, and where workers count it together."""

from __future__ import annotations

from collections.abc import Mapping

from mailer.delivery.limits.plan import BackendRates, SenderRates, WarmupPlan
from mailer.delivery.limits.shares import Lot
from mailer.errors import ConfigError
from mailer.settings import Settings, WarmupSettings, as_rates
from mailer.wiring.backends import connections_of, rates_of

#: Of limits per hour or longer bulk mail leaves this share, where applications may need it.
RATE_RESERVE = 0.1
#: What a URL of a Redis that holds limits begins with; a Redis behind sentinels does not.
REDIS = ("redis://", "rediss://", "unix://")


def backend_rates(settings: Settings, *, serving: bool = False) -> dict[str, BackendRates]:
    """The limits of every backend of the settings; where those name none, the provider's own.

    ``serving``: applications hand messages to this very process.
    """
    return {
        name: BackendRates(
            rates_of(name, backend),
            _each(backend.lanes),
            _each(backend.domains),
            _warmup(backend.warmup),
            _reserve(settings, backend.transactional_rate_reserve, serving),
        )
        for name, backend in settings.backends.items()
    }


def sender_rates(settings: Settings, *, serving: bool = False) -> dict[str, SenderRates]:
    """The limits of every domain that mail is sent from."""
    return {
        domain: SenderRates(
            as_rates(sender.rate), _reserve(settings, sender.transactional_rate_reserve, serving)
        )
        for domain, sender in settings.senders.items()
    }


def connection_lots(settings: Settings) -> dict[str, Lot]:
    """The connections of every backend, as all workers share them."""
    return {
        name: Lot(connections_of(name, backend), backend.transactional_reserve)
        for name, backend in settings.backends.items()
    }


def limits_url(settings: Settings) -> str | None:
    """The Redis in which workers share limits; None: they share them through the ledger.

    Raises ConfigError for anything else.
    """
    wish = settings.limits.get_secret_value() if settings.limits else None
    if wish == "ledger":
        return None
    if wish is None:
        broker = settings.broker_url or ""
        return broker if broker.startswith(REDIS) else None
    if not wish.startswith(REDIS):
        raise ConfigError('limits: write "redis://HOST:6379/0", or "ledger"')
    return wish


def _reserve(settings: Settings, wish: float | None, serving: bool) -> float:
    """Who only ever runs ``mailer send`` has nobody to leave a tenth of the day to."""
    if wish is not None:
        return wish
    return RATE_RESERVE if serving or settings.broker_url else 0.0


def _warmup(plan: WarmupSettings) -> WarmupPlan:
    return WarmupPlan(
        tuple(plan.schedule),
        {lane: tuple(steps) for lane, steps in plan.lanes.items() if steps},
        {domain: tuple(steps) for domain, steps in plan.domains.items() if steps},
    )


def _each(rates: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: as_rates(rate) for name, rate in rates.items()}
