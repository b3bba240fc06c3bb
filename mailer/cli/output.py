"""What the terminal shows: answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def say(text: str = "") -> None:
    """One line of the answer."""
    print(text)


def note(text: str) -> None:
    """One line beside the answer: which ledger, what happens next."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Say what went wrong and what to do."""
    print(f"mailer: {text}", file=sys.stderr, flush=True)


def say_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON line."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def say_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns under headers; numbers to the right. Made for tens of rows."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    say("  ".join(head.ljust(width) for head, width in zip(headers, widths, strict=True)).rstrip())
    for row in cells:
        aligned = (
            cell.rjust(width) if cell.replace(",", "").isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        say("  ".join(aligned).rstrip())


def ask(question: str) -> bool:
    """Ask on the terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``count(2, "row")`` is "2 rows"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def span(seconds: float) -> str:
    """A duration as people say it: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
