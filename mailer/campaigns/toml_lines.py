"""On which line of a TOML file a key stands; ``tomllib`` does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_BARE = r"[A-Za-z0-9_-]+"
_PART = rf"""(?:{_BARE}|"[^"\n]*"|'[^'\n]*')"""
_NAME = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_TABLE = re.compile(rf"[ \t]*\[\[?[ \t]*({_NAME})[ \t]*\]")
_PAIR = re.compile(rf"[ \t]*({_NAME})[ \t]*=")
_PARTS = re.compile(_PART)
_LONG_TEXT = re.compile("\"\"\"|'''")

Key = tuple[str, ...]


def line_of(text: str, key: Sequence[str | int]) -> int | None:
    """The line of ``key``, or of the nearest table that holds it; counted from 1.

    ``text`` is valid TOML. A key inside an inline table is on the line of that table.
    """
    wanted = tuple(part for part in key if isinstance(part, str))
    lines: dict[Key, int] = {}
    for number, found in _keys(text):
        lines.setdefault(found, number)
    return next((lines[wanted[:size]] for size in range(len(wanted), 0, -1) if wanted[:size] in lines), None)


def _keys(text: str) -> Iterator[tuple[int, Key]]:
    table: Key = ()
    for number, line in _outside_long_texts(text):
        if found := _TABLE.match(line):
            table = _split(found[1])
            yield number, table
        elif found := _PAIR.match(line):
            yield number, table + _split(found[1])


def _outside_long_texts(text: str) -> Iterator[tuple[int, str]]:
    """Lines that do not begin inside a multi-line string."""
    inside: str | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if inside is None:
            yield number, line
        for mark in _LONG_TEXT.findall(line):
            inside = mark if inside is None else None if inside == mark else inside


def _split(name: str) -> Key:
    return tuple(part.strip("\"'") for part in _PARTS.findall(name))
