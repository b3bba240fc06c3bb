"""Commands around a folder and its ledger: ``init`` and ``migrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailer.cli.options import Ledger
from mailer.cli.output import say
from mailer.settings import Settings


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if need be.")] = Path(),
) -> None:
    """Write a working example campaign to start from.

    Settings, campaign, recipients and templates. Nothing that exists is overwritten.

    Example: mailer init news
    """
    from mailer.campaigns.starter import write

    for name in write(folder):
        say(f"  {folder / name}")
    where = "" if folder == Path() else f"cd {folder} && "
    say(f"Next: {where}mailer check campaign.toml")


def migrate(ledger: Ledger = None) -> None:
    """Bring the ledger to this version's schema.

    An SQLite ledger is brought up to date by every command; this does it on purpose.

    Example: mailer migrate
    """
    from mailer.ledger import migrate as bring_up
    from mailer.ledger import revision

    url = Settings.load(ledger=ledger).ledger_url
    before = revision(url)
    bring_up(url)
    after = revision(url)
    say(f"ledger: {after}" if before == after else f"ledger: {before or 'empty'} -> {after}")
