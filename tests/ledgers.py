"""Every kind of ledger, and the few words in which tests speak about them."""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mailer.ledger import migrate, open_ledger
from mailer.ledger.contract import Campaign, NewCampaign, NewRow, Result, Settlement, Slice, row_id
from mailer.message import State
from tests.servers import PostgresServer, postgres_server

LEASE = 60.0


class Clock:
    """The database's clock; it moves when it is told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Book:
    """One ledger, with a clock of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock()
        self.ledger = open_ledger(url, clock=self.clock)
        self._campaigns = 0

    def campaign(self, rows: int = 3, *, lanes: int = 1, opened: bool = True, **new: Any) -> Campaign:
        """``person-N@lane-M.example`` for N from 1, running unless it is not opened."""
        self._campaigns += 1
        name = f"campaign-{self._campaigns}"
        about = {"slug": name, "name": name, "digest": name, "spec": {}} | new
        campaign = self.ledger.campaigns.create(NewCampaign(**about))
        self.ledger.campaigns.add_rows(campaign.id, (self.row(n, n % lanes) for n in range(1, rows + 1)))
        return self.ledger.campaigns.opened(campaign.id, 0) if opened else campaign

    @staticmethod
    def row(n: int, lane: int = 0) -> NewRow:
        return NewRow(n, n + 1, f"person-{n}@lane-{lane}.example", f"lane-{lane}", f'{{"n": {n}}}')

    @staticmethod
    def ids(campaign: Campaign, *ordinals: int) -> list[int]:
        return [row_id(campaign.id, ordinal) for ordinal in ordinals]

    def claim(
        self, campaign: Campaign, *ordinals: int, worker: str = "anna", seconds: float = LEASE
    ) -> Slice:
        return self.ledger.slices.claim(self.ids(campaign, *ordinals), worker, seconds)

    def mark(self, claimed: Slice, *ordinals: int) -> list[bool]:
        marks = [(row_id(claimed.campaign_id, ordinal), claimed.fence) for ordinal in ordinals]
        return self.ledger.slices.mark(marks)

    def settle(self, claimed: Slice, ordinal: int, state: State, **more: Any) -> bool:
        id_ = row_id(claimed.campaign_id, ordinal)
        (answer,) = self.ledger.slices.settle([Settlement(id_, claimed.fence, state, **more)])
        return answer

    def rows(self, campaign: Campaign) -> list[Result]:
        return list(self.ledger.results.rows(campaign.id))

    def states(self, campaign: Campaign) -> list[State]:
        """By ordinal; and the tally says the same."""
        states = [row.state for row in self.rows(campaign)]
        counts = self.ledger.campaigns.counts(campaign.id).states
        assert {state: states.count(state) for state in State} == counts
        return states

    def now(self, campaign: Campaign) -> Campaign:
        return self.ledger.campaigns.by_id(campaign.id)


@functools.cache
def empty_sqlite() -> Path:
    """Made once: a migration takes longer than most tests."""
    folder = Path(tempfile.mkdtemp(prefix="mailer-test-ledger-"))
    migrate(f"sqlite:///{folder}/empty.db")
    return folder / "empty.db"


@contextmanager
def sqlite(folder: Path) -> Iterator[Book]:
    path = folder / "mailer.db"
    shutil.copy(empty_sqlite(), path)
    book = Book(f"sqlite:///{path}")
    try:
        yield book
    finally:
        book.ledger.close()


@functools.cache
def postgres_of_this_run() -> PostgresServer:
    """Started by the first test that needs one, stopped when Python ends."""
    entered = ExitStack()
    atexit.register(entered.close)
    server = entered.enter_context(postgres_server())
    migrate(server.create("empty"))
    return server


_numbers = itertools.count(1)


@contextmanager
def postgres_database() -> Iterator[str]:
    """The URL of an empty ledger."""
    server, name = postgres_of_this_run(), f"ledger-{next(_numbers)}"
    try:
        yield server.create(name, template="empty")
    finally:
        server.drop(name)


@contextmanager
def postgresql(folder: Path) -> Iterator[Book]:
    with postgres_database() as url:
        book = Book(url)
        try:
            yield book
        finally:
            book.ledger.close()


#: What every contract test runs over.
LEDGERS = (sqlite, postgresql)
