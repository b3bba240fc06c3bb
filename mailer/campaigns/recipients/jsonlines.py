"""JSON Lines: one object per line. The first object names the columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailer.campaigns.recipients import encodings
from mailer.campaigns.recipients.contract import Limits
from mailer.errors import RecipientsError

_CONSTANTS = {None: "", True: "true", False: "false"}


class JsonLinesTable:
    """Numbers keep the text they are written with, null is an empty cell, nested values become JSON text.

    A key that the first object has not makes its row invalid; one that is missing is an empty cell.
    """

    def __init__(self, path: Path, encoding: str | None, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._encoding = encodings.detect(path, encoding)
        self.headers, self.header_line = self._header()

    @property
    def described(self) -> str:
        return f"JSON Lines, {encodings.spoken(self._encoding)}"

    def rows(self) -> Iterator[tuple[int, Sequence[str], str | None]]:
        known = dict.fromkeys(self.headers, "")
        for line, text in self._lines():
            if not text or text.isspace():
                yield line, (), None
                continue
            try:
                yield line, self._cells(text, known), None
            except _BadObject as error:
                yield line, (text.strip(),), str(error)

    def _cells(self, text: str, known: Mapping[str, str]) -> Sequence[str]:
        found = _parse(text)
        unknown = next((key for key in found if key not in known), None)
        if unknown is not None:
            raise _BadObject(f"the key {unknown[:60]!r} is not in the first object of the file")
        cells = tuple({**known, **found}.values())
        if len(text) > self._limits.cell and max(map(len, cells)) > self._limits.cell:
            raise _BadObject(f"a value is longer than {self._limits.cell} characters")
        return cells

    def _header(self) -> tuple[tuple[str, ...], int]:
        for line, text in self._lines():
            if text and not text.isspace():
                try:
                    headers = tuple(_parse(text))
                except _BadObject as error:
                    raise RecipientsError(
                        str(error),
                        str(self._path),
                        line,
                        hint='Each line is one object: {"email": "ann@example.com", "name": "Ann"}',
                    ) from None
                return self._checked(headers, line), line
        raise RecipientsError("the file is empty", str(self._path))

    def _checked(self, headers: tuple[str, ...], line: int) -> tuple[str, ...]:
        if not 0 < len(headers) <= self._limits.columns:
            raise RecipientsError(
                f"the first object has {len(headers)} keys; 1 to {self._limits.columns} can be columns",
                str(self._path),
                line,
            )
        padded = next((header for header in headers if header != header.strip()), None)
        if padded is not None:
            raise RecipientsError(f"the key {padded!r} has spaces around it", str(self._path), line)
        return headers

    def _lines(self) -> Iterator[tuple[int, str]]:
        most = self._limits.row
        line = 0
        try:
            # newline=None: JSON text never holds a bare line end of any kind.
            with self._path.open(encoding=self._encoding) as file:
                while text := file.readline(most + 1):
                    line += 1
                    if len(text) > most:
                        raise RecipientsError(
                            f"this row is longer than {most} characters", str(self._path), line
                        )
                    yield line, text
        except UnicodeError:
            raise encodings.undecodable(self._path, self._encoding) from None


class _BadObject(ValueError):
    """This line is not a row; the reason is for people."""


def _parse(text: str) -> dict[str, str]:
    try:
        # Numbers as their own text: 1.10 stays 1.10, and no digit is too many.
        value = json.loads(
            text, parse_float=str, parse_int=str, parse_constant=_no_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise _BadObject("the object is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _BadObject(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(value, dict):
        raise _BadObject("not a JSON object")
    if any(type(cell) is not str for cell in value.values()):
        value = {key: _text(key, cell, text) for key, cell in value.items()}
    if "\\" in text:
        _refuse_unwritable(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _BadObject("a key stands twice in the object")
    return found


def _no_constant(name: str) -> Any:
    raise _BadObject(f"{name} is not a JSON number")


def _text(key: str, value: Any, line: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(json.loads(line)[key], ensure_ascii=False)
    return _CONSTANTS[value]


def _refuse_unwritable(cells: Mapping[str, str]) -> None:
    """What an escape can smuggle in and no file can hold."""
    for text in (*cells, *cells.values()):
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise _BadObject("a NUL or half a character (surrogate) is escaped here")
