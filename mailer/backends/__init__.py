"""Where mail goes out: one module per way, found by the scheme of a URL."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mailer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailer.backends.contract import Backend, BackendConfig

#: Scheme of the URL, and the ``module:factory`` that builds the backend. Imported when first used.
BACKENDS = {
    "smtp": "mailer.backends.smtp.backend:connect",
    "smtps": "mailer.backends.smtp.backend:connect",
    "file": "mailer.backends.file:connect",
    "console": "mailer.backends.console:connect",
    "memory": "mailer.backends.memory:connect",
    "sendmail": "mailer.backends.sendmail:connect",
}


def connect(config: BackendConfig) -> Backend:
    """The backend for this URL. Nothing is contacted before its first ``send`` or ``probe``.

    Raises ConfigError for an unknown scheme, an unknown or wrong option, and a library that is missing.
    """
    module, _, factory = _implementation(config).partition(":")
    try:
        build: Callable[[BackendConfig], Backend] = getattr(importlib.import_module(module), factory)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("mailer"):
            raise
        raise ConfigError(
            f"backend {config.name!r} needs {missing.name!r}: pip install {missing.name}"
        ) from missing
    return build(config)


def _implementation(config: BackendConfig) -> str:
    scheme = config.url.partition(":")[0].lower()
    if scheme in BACKENDS:
        return BACKENDS[scheme]
    close = get_close_matches(scheme, BACKENDS, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ConfigError(f"unknown backend {scheme!r}, expected one of: {', '.join(sorted(BACKENDS))}{hint}")
