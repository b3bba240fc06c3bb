"""A campaign from its file, from options, or from both; it needs no file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mailer.campaigns import complaints
from mailer.campaigns.complaints import Complaint
from mailer.campaigns.fieldtypes import table
from mailer.campaigns.spec import KEYS, OPTIONS, STDIN, CampaignSpec, Columns
from mailer.errors import CampaignError

_TABLES = frozenset(option.key for option in OPTIONS if option.table)
#: Keys that hold paths.
_PATHS = ("recipients", "exclude")


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> CampaignSpec:
    """Read a campaign file; ``overrides`` (by key; None does not count) win over it.

    A path in the file is relative to the file, a path in ``overrides`` to the working directory. Raises
    CampaignError that lists every complaint with its line.
    """
    path = path.absolute()
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CampaignError(f"not valid TOML: {error}", str(path)) from None
    except UnicodeDecodeError:
        raise CampaignError("not UTF-8", str(path)) from None
    except OSError as error:
        hint = "`mailer init` writes a working example." if isinstance(error, FileNotFoundError) else None
        raise CampaignError(error.strerror or "cannot be read", str(path), hint=hint) from None
    return _spec(values, overrides or {}, path, text)


def from_options(overrides: Mapping[str, Any]) -> CampaignSpec:
    """A campaign without a file. Raises CampaignError that lists every complaint."""
    return _spec({}, overrides, None, "")


def from_keys(values: Mapping[str, Any]) -> CampaignSpec | list[Complaint]:
    """A campaign without a file, or all that is wrong with it."""
    given = {key: value for key, value in values.items() if value is not None}
    return _examined({}, given, None)


def _spec(values: dict[str, Any], overrides: Mapping[str, Any], file: Path | None, text: str) -> CampaignSpec:
    given = {key: value for key, value in overrides.items() if value is not None}
    found = _examined(values, given, file)
    if isinstance(found, CampaignSpec):
        return found
    flags = {option.key: option.flags[0] for option in OPTIONS if option.key in given or not file}
    raise complaints.refusal(found, file, text, flags)


def _examined(
    values: dict[str, Any], given: Mapping[str, Any], file: Path | None
) -> CampaignSpec | list[Complaint]:
    folder = file.parent if file else Path.cwd()
    merged = _tabled(_merged(_rooted(values, folder), _rooted(given, Path.cwd())))
    mistakes = complaints.unknown(merged.keys() - set(KEYS), KEYS)
    if isinstance(merged.get("columns"), dict):
        names = tuple(Columns.model_fields)
        mistakes += complaints.unknown(merged["columns"].keys() - set(names), names, "columns")
    try:
        known = {key: value for key, value in merged.items() if key in KEYS}
        spec = CampaignSpec.model_validate({**known, "directory": folder, "file": file})
    except ValidationError as error:
        places = {one.place for one in mistakes}
        return mistakes + [one for one in complaints.of_validation(error) if one.place not in places]
    return mistakes or spec


def _merged(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Options win; of tables each entry by itself."""
    merged = {**values, **given}
    for key in _TABLES & values.keys() & given.keys():
        with suppress(ValueError, TypeError):  # not tables: validation says so
            merged[key] = {**values[key], **table(given[key])}
    return merged


def _tabled(values: dict[str, Any]) -> dict[str, Any]:
    """Tables that options gave as KEY=VALUE; what is not that is left to the validation."""
    tabled = dict(values)
    for key in _TABLES & values.keys():
        with suppress(ValueError):
            tabled[key] = table(values[key])
    return tabled


def _rooted(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values, with absolute paths."""
    rooted = dict(values)
    for key in _PATHS:
        value = rooted.get(key)
        if isinstance(value, str):
            rooted[key] = _absolute(value, folder)
        elif isinstance(value, list | tuple):
            rooted[key] = [_absolute(one, folder) if isinstance(one, str) else one for one in value]
    return rooted


def _absolute(path: str, folder: Path) -> str:
    if path.startswith("campaign:"):
        return path
    return path if path in {"", STDIN} else str((folder / Path(path).expanduser()).absolute())
