"""How far it is: a moving bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mailer.cli.output import note
from mailer.ledger.contract import Counts
from mailer.message import FINAL, State

#: Seconds between plain lines.
LINE_SECONDS = 5.0
#: So much later when nothing has changed.
CALM_SECONDS = 55.0


class Show(Protocol):
    """Told how many of the rows are done, how fast, and what is worth a word beside it."""

    def __call__(self, done: int, total: int, text: str) -> None: ...


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Show]:
    """A display on standard error for as long as the block runs."""
    if quiet:
        yield lambda done, total, text: None
    elif sys.stderr.isatty():
        yield from _bar(title)
    else:
        yield _Lines(title)


def _bar(title: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30 if console.width >= 110 else 8),
        TextColumn("{task.fields[numbers]}", markup=False),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
    )
    title = title if len(title) <= 20 else f"{title[:19]}…"

    with Progress(*columns, console=console, transient=True, refresh_per_second=5) as bar:
        task = bar.add_task(title, total=None, text="", numbers="")
        yield lambda done, total, text: bar.update(
            task,
            completed=done,
            total=total or None,
            text=text,
            numbers=f"{done:,}/{total:,}" if total else f"{done:,}",
        )


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._next = time.monotonic() + LINE_SECONDS
        self._last = ""

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        line = f"{self._title}: {done:,}{f' of {total:,}' if total else ''}{f'  {text}' if text else ''}"
        if now >= (self._next if line != self._last else self._next + CALM_SECONDS):
            self._next, self._last = now + LINE_SECONDS, line
            note(line)


def describe(counts: Counts, rate: float) -> tuple[int, str]:
    """Settled rows, and what stands beside the bar while a campaign runs."""
    states = counts.states
    done = sum(states.get(state, 0) for state in FINAL)
    told = [f"{rate:,.0f}/s"]
    told += [
        f"{states[state]:,} {state}"
        for state in (State.DEFERRED, State.REJECTED, State.FAILED, State.UNKNOWN)
        if states.get(state)
    ]
    return done, ", ".join(told)
