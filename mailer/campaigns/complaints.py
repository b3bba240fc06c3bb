"""What is wrong with a campaign file, all of it at once, each with its line and what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from mailer.campaigns.toml_lines import line_of
from mailer.errors import CampaignError

Place = tuple[str | int, ...]

#: pydantic's words for a type, and ours. Anything else is said as pydantic says it.
_WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be text or a list of texts",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "string_too_short": "must not be empty",
}


class Complaint(NamedTuple):
    """``place`` is the path of the key, ``text`` what is wrong with it."""

    place: Place
    text: str

    @property
    def key(self) -> str:
        """As a person names it: ``columns.email``, and of a list the list."""
        return ".".join(part for part in self.place if isinstance(part, str))


def unknown(keys: Iterable[str], known: Collection[str], table: str = "") -> list[Complaint]:
    """One complaint per key that does not exist, with the nearest one that does."""
    found = []
    for key in keys:
        near = get_close_matches(key, known, n=2)
        meant = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
        found.append(Complaint((table, key) if table else (key,), f"unknown key {key!r}; {meant}"))
    return found


def of_validation(error: ValidationError) -> list[Complaint]:
    """The complaints of pydantic, in the words of people who write campaign files."""
    items = error.errors(include_input=False, include_url=False)
    return [Complaint(item["loc"], _said(item["type"], item["msg"], item.get("ctx", {}))) for item in items]


def _said(kind: str, message: str, context: Mapping[str, object]) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "string_too_long":
        longest = context["max_length"]
        return "must be one character" if longest == 1 else f"must not be longer than {longest} characters"
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def refusal(
    complaints: Iterable[Complaint], file: Path | None, text: str, flags: Mapping[str, str]
) -> CampaignError:
    """One error for all, in the order of the file; ``flags`` are the options that were given, by key."""
    placed = [(_line(one.place, text, flags), _worded(one, flags)) for one in complaints]
    placed.sort(key=lambda one: one[0] or 0)
    name = str(file) if file else None
    if len(placed) == 1:
        return CampaignError(placed[0][1], name, placed[0][0])
    lines = [f"  line {line}: {what}" if line else f"  {what}" for line, what in placed]
    return CampaignError("\n".join([f"{len(placed)} mistakes", *lines]), name)


def _line(place: Place, text: str, flags: Mapping[str, str]) -> int | None:
    return None if place[0] in flags else line_of(text, place)


def _worded(one: Complaint, flags: Mapping[str, str]) -> str:
    first, *rest = one.place
    if one.text.startswith("unknown key"):
        return one.text
    name = flags.get(str(first), str(first))
    inner = ".".join(str(part) for part in rest if isinstance(part, str))
    return f"{name}{'.' + inner if inner else ''}: {one.text}"
