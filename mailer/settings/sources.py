"""Where settings come from: ``mailer.toml``, ``.env`` beside it, the environment."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv import dotenv_values

from mailer.errors import ConfigError

FILE_NAME = "mailer.toml"

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def find_file(start: Path) -> Path | None:
    """``mailer.toml`` in ``start`` or the nearest folder above it."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {reason(error)}") from None


def dotenv(directory: Path) -> dict[str, str]:
    file = directory / ".env"
    if not file.is_file():
        return {}
    try:
        return {key: value for key, value in dotenv_values(file).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {reason(error)}") from None


def substitute(value: Any, environment: Mapping[str, str], file: Path | None, key: str = "") -> Any:
    """Put the environment in place of ``${NAME}``; percent-encoded inside a URL."""
    if isinstance(value, dict):
        return {k: substitute(v, environment, file, f"{key}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [substitute(item, environment, file, key) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise ConfigError(
                f"{file}: {key} needs the environment variable {name}; set it, or write it to .env beside it"
            )
        inside_url = "://" in value[: match.start()]
        return quote(environment[name], safe="") if inside_url else environment[name]

    return _VARIABLE.sub(fill, value)


def reason(error: Exception) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "is not UTF-8"
