"""Which backends there are, and which of them is meant."""

from __future__ import annotations

from collections.abc import Collection
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
from mailer.delivery.routes import Route
from mailer.errors import ConfigError
from mailer.settings import BackendSettings, Settings, tested


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


def chosen_backend(settings: Settings, wish: str | None) -> str:
    """What was asked for, else the settings' default, else the only backend there is.

    Raises ConfigError when that leaves nothing.
    """
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


def knows_keys(settings: Settings, wish: str | None) -> dict[str, Any] | None:
    """For the opening of a campaign: which backend knows idempotency keys, and for how many seconds.

    None when it does not, and for a route: after a crash nobody could say which of its backends it was.
    """
    configs = backends_of(settings, wish)
    limits = connect(configs[0]).limits
    if len(configs) > 1 or not limits.idempotent:
        return None
    return {"backend": configs[0].name, "seconds": limits.idempotency_window}


def rates_of(name: str, backend: BackendSettings) -> tuple[str, ...]:
    """The given ones, else what is known of this relay, else what the provider says of its API."""
    if "rate" in backend.model_fields_set:
        return backend.rates
    own = urls.parse(name, backend.address(), options=_options(backend))
    return _preset(name, backend).rates or default_rates(own)


def connections_of(name: str, backend: BackendSettings) -> int:
    """The given ones, else what the provider's API can well take, else what is known of this relay."""
    if "connections" in backend.model_fields_set:
        return backend.connections
    own = urls.parse(name, backend.address(), options=_options(backend))
    return default_connections(own) or _preset(name, backend).connections


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
        connections=connections_of(name, backend),
        rates=rates_of(name, backend),
        options=_options(backend),
    )
    scheme, _, path = config.url.partition(":")
    # Relative to mailer.toml, as all its paths are.
    if scheme == "file" and path and not path.startswith("/"):
        return replace(config, url=f"file:{quote(str(backend.directory.absolute()))}/{path}")
    return config


def _preset(name: str, backend: BackendSettings) -> Preset:
    """Raises ConfigError for a preset that is not known, and for a URL that cannot be read."""
    where = urls.parse(name, backend.address(), options=_options(backend)).url
    try:
        return presets.find(backend.preset, urlsplit(where).hostname or "")
    except ConfigError as error:
        raise ConfigError(f"backends.{name}.preset: {error}") from None


def _weights(backends: list[str] | dict[str, int]) -> tuple[int, ...]:
    return tuple(backends.values()) if isinstance(backends, dict) else ()


def _options(backend: BackendSettings) -> dict[str, str]:
    return {key: _option(value) for key, value in backend.options.items()}


def _option(value: str | int | bool) -> str:
    """As it would stand in the URL."""
    return str(value).lower() if isinstance(value, bool) else str(value)
