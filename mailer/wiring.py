"""From settings to the plain arguments that rooms take; the faces and the workers share this."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from urllib.parse import quote, urlencode

from mailer.backends import default_rates, known, urls
from mailer.backends.contract import BackendConfig
from mailer.delivery.limits.plan import BackendRates
from mailer.delivery.safety import Safety
from mailer.errors import ConfigError
from mailer.settings import BackendSettings, Settings, as_rates


def backend_configs(settings: Settings, *also: str) -> dict[str, BackendConfig]:
    """Every backend of the settings, and those that ``also`` names by their URL, under ``backend_name``.

    Raises ConfigError for a URL, a rate or a password file that cannot be read, and for a name that is
    neither in the settings nor a URL.
    """
    configs = {name: _config(name, backend) for name, backend in settings.backends.items()}
    for wish in also:
        if wish not in configs:
            config = _by_url(wish, configs)
            configs[config.name] = config
    return configs


def backend_name(settings: Settings, wish: str | None) -> str:
    """Under which name the ledger knows the backend that is wished for; default: the settings'.

    A URL is its own name, without its login: the ledger holds no secret.
    """
    wish = chosen_backend(settings, wish)
    return wish if wish in settings.backends else _by_url(wish, settings.backends).name


def backend_rates(settings: Settings) -> dict[str, BackendRates]:
    """The limits of every backend of the settings; where those name none, the provider's own."""
    return {
        name: BackendRates(
            backend.rates or _default_rates(name, backend), _each(backend.lanes), _each(backend.domains)
        )
        for name, backend in settings.backends.items()
    }


def _default_rates(name: str, backend: BackendSettings) -> tuple[str, ...]:
    options = {key: _option(value) for key, value in backend.options.items()}
    return default_rates(urls.parse(name, backend.address(), options=options))


def safety(settings: Settings) -> Safety:
    return Safety(settings.safety.redirect_to, tuple(settings.safety.allow_recipients))


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
    scheme, colon, _ = wish.partition(":")
    if not colon or not known(scheme):
        there = f"there is {', '.join(names)}" if names else "there is none in mailer.toml"
        raise ConfigError(f"no backend {wish!r}: {there}; a URL such as smtp://host:587 would do too")
    config = urls.parse(scheme, wish)
    query = f"?{urlencode(config.options)}" if config.options else ""
    return replace(config, name=f"{config.url}{query}")


def _config(name: str, backend: BackendSettings) -> BackendConfig:
    config = urls.parse(
        name,
        backend.address(),
        user=backend.user,
        password=backend.secret(),
        connections=backend.connections,
        rates=backend.rates,
        options={key: _option(value) for key, value in backend.options.items()},
    )
    scheme, _, path = config.url.partition(":")
    if scheme == "file" and not path.startswith("/"):  # relative to mailer.toml, as all its paths are
        return replace(config, url=f"file:{quote(str(backend.directory.absolute()))}/{path}")
    return config


def _option(value: str | int | bool) -> str:
    """As it would stand in the URL."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _each(rates: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: as_rates(rate) for name, rate in rates.items()}
