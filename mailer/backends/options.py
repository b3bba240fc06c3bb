"""Reading a backend's options: every complaint names the backend, the option and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from mailer.backends.contract import BackendConfig
from mailer.errors import ConfigError

_YES, _NO = frozenset({"1", "yes", "true", "on"}), frozenset({"0", "no", "false", "off"})


def check(config: BackendConfig, known: Collection[str]) -> None:
    """Refuse an option that this backend does not know."""
    for key in config.options:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            expected = f"expected one of: {', '.join(sorted(known))}" if known else "it takes none"
            raise ConfigError(f"backend {config.name!r}: unknown option {key!r}, {expected}{hint}")


def choice(config: BackendConfig, key: str, allowed: Collection[str], default: str) -> str:
    value = config.options.get(key, default)
    if value not in allowed:
        raise _wrong(config, key, f"one of: {', '.join(allowed)}")
    return value


def flag(config: BackendConfig, key: str, default: bool = False) -> bool:
    value = config.options.get(key)
    if value is None:
        return default
    if value.lower() not in _YES | _NO:
        raise _wrong(config, key, "yes or no")
    return value.lower() in _YES


def whole(config: BackendConfig, key: str, default: int | None) -> int | None:
    """A whole number above zero."""
    value = config.options.get(key)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise _wrong(config, key, "a whole number above zero")
    return int(value)


def seconds(config: BackendConfig, key: str, default: float) -> float:
    """A time above zero, at most a day."""
    value = config.options.get(key)
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number <= 86_400:
        raise _wrong(config, key, "seconds, more than 0 and at most 86400")
    return number


def moment(config: BackendConfig, key: str) -> datetime | None:
    """A time with its zone, in UTC. A plus sign in a URL is a space."""
    value = config.options.get(key)
    if value is None:
        return None
    with suppress(ValueError):
        at = datetime.fromisoformat(value.replace(" ", "+"))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise _wrong(config, key, "a time with its zone, such as 2026-12-01T09:00+01:00")


def secret(name: str, options: Mapping[str, str], key: str) -> str:
    """What stands in the file that this option names; "" without it."""
    if key not in options:
        return ""
    try:
        text = Path(options[key]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"backend {name!r}: option {key!r}: there is no such file") from None
    if not text.isascii() or not text.isprintable():
        raise ConfigError(f"backend {name!r}: option {key!r}: the file holds what no key has")
    return text


def _wrong(config: BackendConfig, key: str, expected: str) -> ConfigError:
    return ConfigError(f"backend {config.name!r}: option {key!r} must be {expected}")
