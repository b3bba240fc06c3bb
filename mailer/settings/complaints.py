"""What is wrong with the settings, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from mailer.settings.faces import ApiSettings, GatewaySettings
from mailer.settings.sending import (
    BackendSettings,
    NotifySettings,
    RouteSettings,
    SafetySettings,
    SenderSettings,
    WarmupSettings,
)


def complaints(error: ValidationError, file: Path | None, settings: type[BaseModel]) -> str:
    """All of them, a line each, by the name of the setting; a close name is suggested."""
    lines = [f"  {place}: {text}" for place, text in _each(error, settings)]
    return "\n".join([f"{file or 'settings'}:", *lines])


def _each(error: ValidationError, settings: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"] if part != "[key]") or "settings"
        if item["type"] == "extra_forbidden":
            yield place, f"no such setting{_meant(item['loc'], settings)}"
        else:
            yield place, item["msg"].removeprefix("Value error, ")


def _meant(place: tuple[int | str, ...], settings: type[BaseModel]) -> str:
    tables: dict[str, type[BaseModel]] = {
        "backends": WarmupSettings if "warmup" in place[2:-1] else BackendSettings,
        "senders": SenderSettings,
        "routes": RouteSettings,
        "safety": SafetySettings,
        "notify": NotifySettings,
        "api": ApiSettings,
        "gateway": GatewaySettings,
    }
    table = settings if len(place) == 1 else tables.get(str(place[0]), settings)
    known = [name for name in table.model_fields if name not in {"directory", "file"}]
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
