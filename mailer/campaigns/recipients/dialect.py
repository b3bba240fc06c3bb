"""Which character separates the cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mailer.campaigns.recipients.header import looks_like_address_column

#: In order of preference where two fit equally.
DELIMITERS = (",", ";", "\t", "|")
SAMPLE_CHARS = 65_536
_SAMPLE_RECORDS = 50
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def detect(sample: str, whole: bool) -> str:
    """The delimiter that cuts the header and the most records into the same number of cells.

    Not csv.Sniffer: that one guesses from letters and takes an ``e`` for a delimiter in short files.
    """
    return max(DELIMITERS, key=lambda delimiter: _score(_records(sample, delimiter, whole)))


def excel_hint(first_line: str) -> str | None:
    """The delimiter of Excel's own first line, ``sep=;``."""
    line = first_line.rstrip("\r\n")
    return line[4] if len(line) == 5 and line[:4].lower() == "sep=" else None


def spoken(delimiter: str) -> str:
    return _NAMES.get(delimiter, repr(delimiter))


def _records(sample: str, delimiter: str, whole: bool) -> list[list[str]]:
    records: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    try:
        for record in reader:
            if record:
                records.append(record)
            if len(records) > _SAMPLE_RECORDS:
                return records[:-1]
    except csv.Error:
        return records
    return records if whole else records[:-1] or records


def _score(records: Sequence[Sequence[str]]) -> tuple[bool, float]:
    if not records:
        return False, 0.0
    width = len(records[0])
    agreeing = sum(len(record) == width for record in records)
    named = any(looks_like_address_column(cell) for cell in records[0])
    return named, (width - 1) * agreeing / len(records)
