"""From the cells of a row to the variables of its templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from mailer.content.celltypes import convert, validate_type
from mailer.content.columns import identifier
from mailer.content.contract import Identity, MailSpec
from mailer.content.sandbox import GLOBALS
from mailer.errors import ContentError

Context = dict[str, Any]

#: Rows of one campaign share their headings; transactional data may come in many shapes.
_SHAPES = 100


class Rows:
    """Knows how the rows of one mail are typed. Columns that no template reads are not converted."""

    def __init__(self, spec: MailSpec, used: frozenset[str], zone: tzinfo) -> None:
        for column, kind in spec.types.items():
            try:
                validate_type(kind)
            except ValueError as error:
                raise ContentError(str(error), column=column) from None
        self._types = {column: kind for column, kind in spec.types.items() if kind != "text"}
        self._required = tuple(spec.required)
        self._used = used
        self._zone = zone
        self._shapes: dict[tuple[str, ...], _Shape] = {}

    def context(self, cells: Mapping[str, Any], identity: Identity) -> Context:
        """Raises ContentError that names the column."""
        shape = self._shape(tuple(cells))
        context = GLOBALS | dict(zip(shape.names, cells.values(), strict=True))
        if None in context.values():
            context = {name: "" if value is None else value for name, value in context.items()}
        for name, heading, kind in shape.typed:
            context[name] = self._typed(kind, context[name], heading)
        for name in self._required:
            if not str(context.get(name, "")).strip():
                raise ContentError("this cell is empty, and the campaign requires it", column=name)
        if "row" in self._used:
            context["row"] = {head: context[name] for head, name in zip(cells, shape.names, strict=True)}
        if "now" in self._used:
            context["now"] = _clock(identity.date, self._zone)
        return context

    def _shape(self, headings: tuple[str, ...]) -> _Shape:
        known = self._shapes.get(headings)
        if known is None:
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            known = self._shapes[headings] = _Shape.of(headings, self._types, self._used)
        return known

    def _typed(self, kind: str, value: Any, heading: str) -> Any:
        """An empty cell stays the empty string whatever its type, so ``default`` and ``if`` work on it."""
        try:
            typed = convert(kind, str(value))
        except ValueError as error:
            raise ContentError(f"cannot read {str(value)[:60]!r}: {error}", column=heading) from None
        if isinstance(typed, datetime) and typed.tzinfo is None:
            return typed.replace(tzinfo=self._zone)
        return typed


@dataclass(frozen=True, slots=True)
class _Shape:
    """What rows with the same headings share."""

    names: tuple[str, ...]
    typed: tuple[tuple[str, str, str], ...]  # identifier, heading, type

    @classmethod
    def of(cls, headings: tuple[str, ...], types: Mapping[str, str], used: frozenset[str]) -> _Shape:
        names = tuple(identifier(heading) for heading in headings)
        typed = tuple(
            (name, heading, types[name])
            for name, heading in zip(names, headings, strict=True)
            if name in types and (name in used or "row" in used)
        )
        return cls(names, typed)


def _clock(seconds: float, zone: tzinfo) -> Callable[[], datetime]:
    def now() -> datetime:
        return datetime.fromtimestamp(seconds, zone)

    return now
