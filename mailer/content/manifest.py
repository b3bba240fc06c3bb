"""``mail.toml``: what a template folder says about itself."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from mailer.content.contract import Package
from mailer.content.packages import MANIFEST, folder_of
from mailer.content.problems import choice
from mailer.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Wording:
    """What a language variant may say differently: ``[languages.de]``."""

    subject: str | None = None
    sender: str | None = None  # "from" in the file


@dataclass(frozen=True, slots=True)
class Manifest:
    """The campaign file wins over all of this."""

    subject: str | None = None
    sender: str | None = None  # "from" in the file
    reply_to: str | None = None
    stream: str | None = None
    locale: str | None = None
    timezone: str | None = None
    on_unknown: str | None = None  # hold or retry
    sensitive: bool = False  # the content is not kept longer than needed
    variables: tuple[str, ...] = ()  # identifiers that must exist
    sample: Mapping[str, Any] = field(default_factory=dict)
    languages: Mapping[str, Wording] = field(default_factory=dict)


def manifest(package: Package) -> Manifest:
    """Read from the package; an empty one when it has no ``mail.toml``. Raises TemplateError."""
    name = f"{folder_of(package)}/{MANIFEST}".lstrip("/")
    if name not in package.files:
        return Manifest()
    try:
        table = tomllib.loads(package.files[name].decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TemplateError(f"not valid TOML: {error}", name) from None
    languages = table.pop("languages", {})
    if not isinstance(languages, dict) or not all(isinstance(entry, dict) for entry in languages.values()):
        raise TemplateError("languages must be tables, as in [languages.de]", name)
    wordings = {_tag(tag): Wording(**_typed(Wording, entry, name)) for tag, entry in languages.items()}
    return Manifest(**_typed(Manifest, table, name), languages=wordings)


def _tag(text: str) -> str:
    return text.strip().lower().replace("_", "-")


def _typed(kind: type[Any], table: dict[str, Any], name: str) -> dict[str, Any]:
    """The table's values by field name, each of the type that the field has."""
    hints = get_type_hints(kind)
    keys = {"from" if one.name == "sender" else one.name: one.name for one in fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in keys:
            raise TemplateError(f"unknown key {key!r}", name, hint=choice(key, keys))
        values[keys[key]] = _checked(key, value, hints[keys[key]], name)
    return values


def _checked(key: str, value: Any, hint: Any, name: str) -> Any:
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        raise TemplateError(f"{key} must be a list of names", name)
    expected: type = bool if hint is bool else str if hint == str | None else dict
    if not isinstance(value, expected):
        raise TemplateError(f"{key} must be a {_WORDS[expected]}", name)
    return value


_WORDS: dict[type, str] = {bool: "true or false", str: "text", dict: "table"}
