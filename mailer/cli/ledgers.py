"""The ledger that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mailer import ledger as ledger_room
from mailer.cli.output import note
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


def shown(url: str) -> str:
    """A ledger's URL without its login."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
