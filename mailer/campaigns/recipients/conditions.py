"""The pieces that a condition is made of: closures over one row's cells."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailer.content.celltypes import convert

#: Name -> (function, kinds of its arguments, kind of its result).
FUNCTIONS: Mapping[str, tuple[Callable[..., Any], tuple[str, ...], str]] = {
    "lower": (str.lower, ("text",), "text"),
    "upper": (str.upper, ("text",), "text"),
    "strip": (str.strip, ("text",), "text"),
    "length": (len, ("text",), "number"),
    "startswith": (str.startswith, ("text", "text"), "boolean"),
    "endswith": (str.endswith, ("text", "text"), "boolean"),
    "contains": (operator.contains, ("text", "text"), "boolean"),
}
Cells = Sequence[str]


class BadCell(ValueError):
    """``BadCell(index, reason)``: the condition needs this cell, and it is not of its type."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of the expression: what it computes, and what kind of value that is."""

    get: Callable[[Cells], Any]
    kind: str  # text, number, date, datetime, boolean, list
    literal: Any = None
    type_name: str = "text"  # how a text beside it is to be read


def converted_cell(index: int, type_name: str) -> Callable[[Cells], Any]:
    """The cell as a value of its type."""

    def converted(cells: Cells) -> Any:
        try:
            return convert(type_name, cells[index])
        except ValueError as error:
            raise BadCell(index, str(error)) from None

    return converted


def constant(value: Any, kind: str) -> Node:
    return Node(lambda _: value, kind, value)


def every(parts: Sequence[Callable[[Cells], Any]]) -> Callable[[Cells], bool]:
    def test(cells: Cells) -> bool:
        for part in parts:  # noqa: SIM110 - called per row, and a generator costs more than the tests
            if not part(cells):
                return False
        return True

    return test


def some(parts: Sequence[Callable[[Cells], Any]]) -> Callable[[Cells], bool]:
    def test(cells: Cells) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(cells):
                return True
        return False

    return test


def compared(
    compare: Callable[[Any, Any], bool],
    left: Callable[[Cells], Any],
    right: Callable[[Cells], Any],
    text: bool,
) -> Callable[[Cells], bool]:
    """A comparison of two texts, or of two values that may be missing."""
    if text:
        return lambda cells: compare(left(cells), right(cells))
    unequal = compare is operator.ne

    def test(cells: Cells) -> bool:
        one, other = left(cells), right(cells)
        if one == "" or other == "":  # an empty cell with a type
            return unequal
        try:
            return compare(one, other)
        except TypeError:  # a time with a zone beside one without: neither before nor after
            return unequal

    return test
