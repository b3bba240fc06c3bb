"""From a URL, as people write it into settings, to a BackendConfig whose URL holds no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mailer.backends.contract import BackendConfig
from mailer.backends.services import expanded
from mailer.errors import ConfigError

#: A character of these in a login or in the path would be read as something else.
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")


def parse(
    name: str,
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    connections: int = 10,
    rates: Iterable[str] = (),
    options: Mapping[str, str] | None = None,
) -> BackendConfig:
    """Take the login and the query out of ``url``; what is given apart wins over what the URL says.

    Login and options are percent-decoded; ``smtp+postmark:`` and its like become ``smtp:``. Raises
    ConfigError, which never repeats the URL: it may hold a password.
    """
    parts = _split(name, url)
    config = BackendConfig(
        name=name,
        url=_bare(url, parts.netloc),
        user=user if user is not None else _decoded(name, parts.username),
        password=password if password is not None else _decoded(name, parts.password),
        connections=connections,
        rates=tuple(rates),
        options=_query(name, parts.query) | dict(options or {}),
    )
    return expanded(config)


def _split(name: str, url: str) -> SplitResult:
    """``urlsplit`` drops line ends and tabs without a word, so they are refused first."""
    if _NOT_IN_A_URL.search(url):
        raise ConfigError(f"backend {name!r}: the URL holds a space or a control character")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(
            f"backend {name!r}: the URL's host or port cannot be read; in a login, "
            "write / as %2F, ? as %3F, # as %23, : as %3A and @ as %40"
        ) from error
    if not parts.scheme:
        raise ConfigError(f"backend {name!r}: a URL such as smtp://host:587 or file:outbox is expected")
    if parts.fragment:
        raise ConfigError(f"backend {name!r}: the URL holds a '#'; in a login, write it as %23")
    return parts


def _bare(url: str, netloc: str) -> str:
    """Cut by hand: ``urlunsplit`` makes the relative ``file:outbox`` an absolute path."""
    return url.partition("?")[0].replace(netloc, netloc.rpartition("@")[2], 1)


def _decoded(name: str, text: str | None) -> str | None:
    try:
        return None if text is None else unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise ConfigError(f"backend {name!r}: the login's %-escapes are not UTF-8") from error


def _query(name: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in options:
            raise ConfigError(f"backend {name!r}: option {key!r} is given twice")
        options[key] = value
    return options
