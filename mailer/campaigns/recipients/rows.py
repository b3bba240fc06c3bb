"""One row by itself: is its shape right, is it wanted, does it hold an address and what it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailer.address import UNSAFE, Address, AddressError
from mailer.campaigns.recipients.conditions import BadCell
from mailer.campaigns.recipients.contract import Chunk, Entry, Examined, Invalid, Recipient
from mailer.campaigns.recipients.header import Columns
from mailer.campaigns.recipients.where import Where
from mailer.content.celltypes import convert

BLANK = "blank line"
_APART = "\x1f"


@dataclass(frozen=True, slots=True)
class Examiner:
    """Everything a row can be asked without knowing the others. Columns are numbers here.

    ``unique`` empty: the key is the address.
    """

    columns: Columns
    required: tuple[int, ...] = ()
    types: tuple[tuple[int, str], ...] = ()
    unique: tuple[int, ...] = ()
    where: Where | None = None

    def __call__(self, chunk: Chunk) -> Examined:
        """Pure: the same chunk gives the same answer in any process."""
        examined = [self._entry(*row) for row in chunk.rows]
        entries = [entry for entry in examined if entry is not None]
        return Examined(entries, len(examined) - len(entries))

    def _entry(self, ordinal: int, line: int, cells: Sequence[str], problem: str | None) -> Entry | None:
        try:
            if problem is not None or len(cells) != len(self.columns.headers):
                raise _Refused(None, problem or _misshapen(cells, len(self.columns.headers)))
            if self.where is not None and not self._wanted(self.where, cells):
                return None
            address = self._address(cells)
            self._check(cells)
            name = self._name(cells) if self.columns.name is not None else address.name
        except _Refused as refused:
            return Invalid(ordinal, line, refused.column, refused.reason, cells)
        key = self._key(cells, address) if self.unique else address.key
        return Recipient(
            ordinal, line, address, name, dict(zip(self.columns.headers, cells, strict=True)), key
        )

    def _wanted(self, where: Where, cells: Sequence[str]) -> bool:
        try:
            return where(cells)
        except BadCell as bad:
            raise self._refused(bad.index, bad.reason) from None

    def _address(self, cells: Sequence[str]) -> Address:
        text = cells[self.columns.email]
        try:
            return Address.parse(text)
        except AddressError as error:
            if any(cell.strip() for cell in cells):
                reason = error.reason if text.strip() else "there is no address"
                raise self._refused(self.columns.email, reason) from None
            raise _Refused(None, BLANK) from None

    def _check(self, cells: Sequence[str]) -> None:
        for index in self.required:
            if not cells[index].strip():
                raise self._refused(index, "this cell is empty, but required")
        for index, type_name in self.types:
            try:
                convert(type_name, cells[index])
            except ValueError as error:
                raise self._refused(index, str(error)) from None

    def _name(self, cells: Sequence[str]) -> str:
        index = self.columns.name
        name = cells[index].strip() if index is not None else ""
        if not name.isprintable() and UNSAFE.search(name):
            raise self._refused(index, "it holds a line break or another control character")
        return name

    def _key(self, cells: Sequence[str], address: Address) -> str:
        return _APART.join(
            address.key if index == self.columns.email else cells[index].strip() for index in self.unique
        )

    def _refused(self, index: int | None, reason: str) -> _Refused:
        return _Refused(None if index is None else self.columns.headers[index], reason)


class _Refused(Exception):
    """An answer; it never leaves this module."""

    def __init__(self, column: str | None, reason: str) -> None:
        super().__init__(column, reason)
        self.column = column
        self.reason = reason


def _misshapen(cells: Sequence[str], width: int) -> str:
    if not any(cell.strip() for cell in cells):
        return BLANK
    return f"{len(cells)} cell{'s' * (len(cells) != 1)} instead of {width}"
