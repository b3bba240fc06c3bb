"""The truth about every recipient: one row each, in exactly one state. The only room that knows SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailer.ledger.ledger import Ledger

__all__ = ["migrate", "open_ledger", "revision"]


def open_ledger(url: str, *, clock: Callable[[], float] | None = None) -> Ledger:
    """The ledger at ``sqlite:////path/to/mailer.db`` or ``postgresql://user:password@host/database``, created
    or brought up to date first.

    One ``Ledger`` serves all threads of a process, and its children after a fork. ``clock`` replaces the
    database's; only tests do that. Raises ConfigError for a URL that cannot be used, LedgerError for a
    file that cannot, or that a newer version of this program wrote.
    """
    from mailer.ledger.database import Database
    from mailer.ledger.ledger import Ledger
    from mailer.ledger.upgrade import bring_up

    database = Database(url, clock)
    try:
        bring_up(database)
    except BaseException:
        database.close()
        raise
    return Ledger(database)


def migrate(url: str) -> None:
    """Create the ledger or bring it up to date. Raises as ``open_ledger``."""
    open_ledger(url).close()


def revision(url: str) -> str | None:
    """The revision of the ledger at ``url``; None when there is none yet. Changes nothing."""
    from mailer.ledger.database import Database
    from mailer.ledger.upgrade import stored_revision

    database = Database(url)
    try:
        return stored_revision(database)
    finally:
        database.close()
