"""The ledger that a command works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mailer import ledger as ledger_room
from mailer.broadcast import Broadcast
from mailer.cli.output import note
from mailer.ledger.contract import Campaign, Runner
from mailer.ledger.ledger import Ledger
from mailer.settings import Settings


@contextmanager
def open_ledger(settings: Settings, *, quiet: bool = False) -> Iterator[Ledger]:
    """The ledger of the settings; commands that write say which one it is."""
    if not quiet:
        note(f"ledger: {shown(settings.ledger_url)}")
    rooms = ledger_room.open_ledger(settings.ledger_url)
    try:
        yield rooms
    finally:
        rooms.close()


@contextmanager
def workers_told(settings: Settings) -> Iterator[Callable[[Campaign | None], None]]:
    """What is given: to be called after each COMMIT that workers should heed at once, with its campaign if it
    concerns but one. At the end it may hold up the command, for a second after that at most."""
    broadcast = Broadcast(settings.broker_url)

    def tell(campaign: Campaign | None = None) -> None:
        if campaign is None or campaign.runner is Runner.WORKERS:
            broadcast.heed()

    try:
        yield tell
    finally:
        broadcast.close()


def shown(url: str) -> str:
    """A ledger's URL without its login."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
