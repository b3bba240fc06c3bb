"""From settings to the plain arguments that rooms take; the faces and the workers share this."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from mailer.backends import (
    connect,
    default_connections,
    default_rates,
    known,
    presets,
    sandboxed,
    unknown,
    urls,
)
from mailer.backends.contract import BackendConfig
from mailer.backends.presets import Preset
from mailer.campaigns.durations import seconds
from mailer.delivery import epoch
from mailer.delivery.brake import BrakeLimits
from mailer.delivery.epoch import EpochCopy
from mailer.delivery.limits.plan import BackendRates, SenderRates, WarmupPlan
from mailer.delivery.limits.shares import Lot
from mailer.delivery.notices import NotifyConfig
from mailer.delivery.oversight import Care
from mailer.delivery.routes import Route
from mailer.delivery.safety import Safety
from mailer.errors import ConfigError
from mailer.settings import BackendSettings, Settings, WarmupSettings, as_rates, tested

#: Of limits per hour or longer bulk mail leaves this share, where applications may need it.
RATE_RESERVE = 0.1
#: What a URL of a Redis that holds limits begins with; a Redis behind sentinels does not.
REDIS = ("redis://", "rediss://", "unix://")


def backend_configs(settings: Settings, *also: str) -> dict[str, BackendConfig]:
    """Every backend of the settings, and those that ``also`` names by their URL, under ``backend_name``.

    Raises ConfigError for a URL, a rate or a password file that cannot be read, and for a name that is
    neither in the settings nor a URL.
    """
    configs = {name: _config(name, backend) for name, backend in settings.backends.items()}
    for wish in also:
        if wish not in configs and wish not in settings.routes:
            config = _by_url(wish, configs)
            configs[config.name] = config
    return configs


def backend_name(settings: Settings, wish: str | None) -> str:
    """Under which name the ledger knows the backend that is wished for; default: the settings'.

    A URL is its own name, without its login: the ledger holds no secret.
    """
    wish = chosen_backend(settings, wish)
    if wish in settings.backends or wish in settings.routes:
        return wish
    return _by_url(wish, (*settings.backends, *settings.routes)).name


def routes(settings: Settings) -> dict[str, Route]:
    """Every route of the settings, under its name."""
    return {
        name: Route(name, tuple(route.backends), _weights(route.backends))
        for name, route in settings.routes.items()
    }


def backends_of(settings: Settings, wish: str | None) -> list[BackendConfig]:
    """What may carry the mail when this is wished for: a backend, or those of a route in its order."""
    name = backend_name(settings, wish)
    route = settings.routes.get(name)
    configs = backend_configs(settings, chosen_backend(settings, wish))
    return [configs[one] for one in (route.backends if route else (name,))]


def with_test_modes(settings: Settings) -> Settings:
    """Settings that know each backend and route in its test mode, too, where it has one.

    For workers: only the ledger tells them that a campaign goes there.
    """
    for name in (*settings.backends, *settings.routes):
        twins, twin = tested(settings, name)
        with suppress(ConfigError):
            for config in backends_of(twins, twin):
                connect(sandboxed(config))
            settings = twins
    return settings


def backend_rates(settings: Settings, *, serving: bool = False) -> dict[str, BackendRates]:
    """The limits of every backend of the settings; where those name none, the provider's own.

    ``serving``: applications hand messages to this very process.
    """
    return {
        name: BackendRates(
            _rates(name, backend),
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


def _reserve(settings: Settings, wish: float | None, serving: bool) -> float:
    """Who only ever runs ``mailer send`` has nobody to leave a tenth of the day to."""
    if wish is not None:
        return wish
    return RATE_RESERVE if serving or settings.broker_url else 0.0


def connection_lots(settings: Settings) -> dict[str, Lot]:
    """The connections of every backend, as all workers share them."""
    return {
        name: Lot(_connections(name, backend), backend.transactional_reserve)
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


def epoch_copy(settings: Settings) -> EpochCopy:
    """Where the copy of the ledger's epoch lies that tells a restored ledger (I9)."""
    return epoch.epoch_copy(settings.ledger_url, limits_url(settings))


def safety(settings: Settings) -> Safety:
    return Safety(settings.safety.redirect_to, tuple(settings.safety.allow_recipients))


def care(settings: Settings) -> Care:
    """What happens to campaigns that nobody watches. Raises ConfigError."""
    rails = settings.safety
    try:
        misfire_after = seconds(settings.misfire_after)
    except ValueError as error:
        raise ConfigError(f"misfire_after: {error}") from None
    limits = BrakeLimits(rails.pause_at_errors, rails.pause_at_policy, rails.pause_at_least)
    ways = {name: route.backends for name, route in routes(settings).items()}
    return Care(limits, misfire_after, _notify(settings), ways)


def _notify(settings: Settings) -> NotifyConfig | None:
    wish = settings.notify
    if wish.webhook is None and wish.email is None:
        return None
    backend = None if wish.email is None else backends_of(settings, wish.backend)[0]
    webhook = wish.webhook.get_secret_value() if wish.webhook else None
    return NotifyConfig(webhook, wish.email, wish.sender, backend)


def chosen_backend(settings: Settings, wish: str | None) -> str:
    """What was asked for, else the settings' default, else the only backend there is."""
    wish = wish or settings.backend
    if wish is None and len(settings.backends) == 1:
        return next(iter(settings.backends))
    if wish is None:
        there = f"; there are {', '.join(settings.backends)}" if settings.backends else ""
        raise ConfigError(
            f"no backend is chosen{there}: write [backends.main] with a url into mailer.toml, "
            "or give --backend smtp://host:587"
        )
    return wish


def _by_url(wish: str, names: Collection[str]) -> BackendConfig:
    scheme, colon, rest = wish.partition(":")
    if rest.startswith("/") and not known(scheme):
        raise unknown(scheme)
    if not colon or not known(scheme):
        there = f"there is {', '.join(names)}" if names else "there is none in mailer.toml"
        raise ConfigError(f"no backend {wish!r}: {there}; a URL such as smtp://host:587 would do too")
    config = urls.parse(scheme, wish)
    query = f"?{urlencode(config.options)}" if config.options else ""
    connections = default_connections(config) or config.connections
    return replace(config, name=f"{config.url}{query}", connections=connections)


def _config(name: str, backend: BackendSettings) -> BackendConfig:
    config = urls.parse(
        name,
        backend.address(),
        user=backend.user,
        password=backend.secret(),
        connections=_connections(name, backend),
        rates=_rates(name, backend),
        options=_options(backend),
    )
    scheme, _, path = config.url.partition(":")
    if (
        scheme == "file" and path and not path.startswith("/")
    ):  # relative to mailer.toml, as all its paths are
        return replace(config, url=f"file:{quote(str(backend.directory.absolute()))}/{path}")
    return config


def _preset(name: str, backend: BackendSettings) -> Preset:
    """Raises ConfigError for a preset that is not known, and for a URL that cannot be read."""
    where = urls.parse(name, backend.address(), options=_options(backend)).url
    try:
        return presets.find(backend.preset, urlsplit(where).hostname or "")
    except ConfigError as error:
        raise ConfigError(f"backends.{name}.preset: {error}") from None


def _rates(name: str, backend: BackendSettings) -> tuple[str, ...]:
    """The given ones, else what is known of this relay, else what the provider says of its API."""
    if "rate" in backend.model_fields_set:
        return backend.rates
    own = urls.parse(name, backend.address(), options=_options(backend))
    return _preset(name, backend).rates or default_rates(own)


def _connections(name: str, backend: BackendSettings) -> int:
    """The given ones, else what the provider's API can well take, else what is known of this relay."""
    if "connections" in backend.model_fields_set:
        return backend.connections
    own = urls.parse(name, backend.address(), options=_options(backend))
    return default_connections(own) or _preset(name, backend).connections


def _warmup(plan: WarmupSettings) -> WarmupPlan:
    return WarmupPlan(
        tuple(plan.schedule),
        {lane: tuple(steps) for lane, steps in plan.lanes.items() if steps},
        {domain: tuple(steps) for domain, steps in plan.domains.items() if steps},
    )


def knows_keys(settings: Settings, wish: str | None) -> dict[str, Any] | None:
    """For the opening of a campaign: which backend knows idempotency keys, and for how many seconds.

    None when it does not, and for a route: after a crash nobody could say which of its backends it was.
    """
    configs = backends_of(settings, wish)
    limits = connect(configs[0]).limits
    if len(configs) > 1 or not limits.idempotent:
        return None
    return {"backend": configs[0].name, "seconds": limits.idempotency_window}


def _weights(backends: list[str] | dict[str, int]) -> tuple[int, ...]:
    return tuple(backends.values()) if isinstance(backends, dict) else ()


def _options(backend: BackendSettings) -> dict[str, str]:
    return {key: _option(value) for key, value in backend.options.items()}


def _option(value: str | int | bool) -> str:
    """As it would stand in the URL."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _each(rates: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: as_rates(rate) for name, rate in rates.items()}
