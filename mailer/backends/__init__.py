"""Where mail goes out: one module per way, found by the scheme of a URL."""

from __future__ import annotations

import importlib
from dataclasses import replace
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from mailer.backends import services
from mailer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from mailer.backends.contract import Backend, BackendConfig
    from mailer.backends.provider import Facts, Record

#: Providers with an HTTP API; each is a module of its name.
PROVIDERS = (
    "postmark",
    "resend",
    "sendgrid",
    "mailtrap",
    "mailgun",
    "netcore",
    "nylas",
    "ses",
    "brevo",
    "mailersend",
    "mailjet",
    "sparkpost",
    "mandrill",
    "scaleway",
    "azure",
    "postal",
)
#: Those with a test mode that checks everything and delivers nothing: option ``sandbox``.
SANDBOXES = ("postmark", "resend", "sendgrid", "mailtrap", "mailgun", "ses", "brevo", "mailjet", "sparkpost")
#: Scheme of the URL, and the ``module:factory`` that builds the backend. Imported when first used.
BACKENDS = {
    "smtp": "mailer.backends.smtp.backend:connect",
    "smtps": "mailer.backends.smtp.backend:connect",
    "file": "mailer.backends.file:connect",
    "console": "mailer.backends.console:connect",
    "memory": "mailer.backends.memory:connect",
    "sendmail": "mailer.backends.sendmail:connect",
    **{name: f"mailer.backends.{name}:connect" for name in PROVIDERS},
}
#: Other packages add backends under this entry point group: ``scheme = "their.module:connect"``.
GROUP = "mailer.backends"


def connect(config: BackendConfig) -> Backend:
    """The backend for this URL. Nothing is contacted before its first ``send`` or ``probe``.

    Raises ConfigError for an unknown scheme, an unknown or wrong option, and a library that is missing.
    """
    try:
        build: Callable[[BackendConfig], Backend] = _load(_implementation(config))
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("mailer"):
            raise
        raise ConfigError(
            f"backend {config.name!r} needs {missing.name!r}: pip install {missing.name}"
        ) from missing
    return build(config)


def sandboxed(config: BackendConfig) -> BackendConfig:
    """The same account in the provider's test mode. Raises ConfigError where there is none."""
    scheme = config.url.partition(":")[0].lower()
    if scheme not in SANDBOXES and scheme not in _others():  # theirs say so themselves when they are built
        said = f"it has no test mode; these have one: {', '.join(SANDBOXES)}"
        raise ConfigError(f"backend {config.name!r}: {said}")
    return replace(config, options={**config.options, "sandbox": "true"})


def known(scheme: str) -> bool:
    """Whether some backend answers to this scheme, ours or another package's."""
    return scheme.lower() in BACKENDS or services.knows(scheme) or scheme.lower() in _others()


def unknown(scheme: str) -> ConfigError:
    """The error for a scheme that is not ``known``; without the rest of the URL, which may be a secret."""
    there = sorted({*BACKENDS, *_others()})
    preset = f"smtp+{scheme}"
    close = [preset] if services.knows(preset) else get_close_matches(scheme, there, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ConfigError(f"unknown backend {scheme!r}, expected one of: {', '.join(there)}{hint}")


def default_rates(config: BackendConfig) -> tuple[str, ...]:
    """What the provider itself allows, in messages; empty where it says nothing or is no provider."""
    facts = _facts(config)
    if facts is None:
        return ()
    wish = config.options.get("batch", "")
    batch = int(wish) if wish.isdigit() else facts.batch
    rates = (rate.partition("/") for rate in facts.requests)
    return tuple(f"{int(number) * batch}/{unit}" for number, _, unit in rates)


def default_connections(config: BackendConfig) -> int | None:
    """How many requests a provider may have under way where nobody says; None: it is no provider."""
    facts = _facts(config)
    return None if facts is None else facts.calls


def needed_records(config: BackendConfig) -> tuple[str, tuple[Record, ...]]:
    """The provider's name, and what it needs in a sender's DNS where its API does not tell; so over SMTP."""
    relay = config.options.get("marks", "")  # which ``smtp+PROVIDER`` was
    facts = _facts(replace(config, url=f"{relay}:") if relay in PROVIDERS else config)
    return ("", ()) if facts is None else (facts.title, facts.records)


def _facts(config: BackendConfig) -> Facts | None:
    """Of a provider of ours, or of another package's whose module has ``FACTS`` too."""
    scheme = config.url.partition(":")[0].lower()
    if scheme in BACKENDS and scheme not in PROVIDERS:
        return None
    place = BACKENDS.get(scheme) or _others().get(scheme)
    return None if place is None else getattr(_module(place), "FACTS", None)


def _implementation(config: BackendConfig) -> str:
    scheme = config.url.partition(":")[0].lower()
    if scheme in BACKENDS:
        return BACKENDS[scheme]
    others = _others()
    if scheme in others:
        return others[scheme]
    raise unknown(scheme)


def _others() -> dict[str, str]:
    return {one.name.lower(): one.value for one in entry_points(group=GROUP)}


def _load(place: str) -> Any:
    return getattr(_module(place), place.partition(":")[2])


def _module(place: str) -> ModuleType:
    return importlib.import_module(place.partition(":")[0])
