"""``mailer prune``: recipients of campaigns that are long over."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

import typer

from mailer.campaigns import control
from mailer.campaigns.durations import seconds
from mailer.campaigns.times import shown
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Json, Ledger, Yes
from mailer.cli.output import ask, count, note, say, say_json, say_table
from mailer.cli.progress import Show, progress
from mailer.errors import InputError
from mailer.ledger.contract import Campaign
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings

_VACUUM = (
    "The space is used again by later campaigns. To make the file smaller, with nothing running:"
    " sqlite3 mailer.db VACUUM"
)


def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help='Ended longer ago than this: "90d".')
    ] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="CAMPAIGN", help="Only this one.")
    ] = None,
    keep_counts: Annotated[
        bool,
        typer.Option("--keep-counts/--forget", help="Keep the campaign and its counts, or forget it wholly."),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Yes = False,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Remove the recipients of campaigns that are over.

    Addresses, cells, replies and tries go, in small steps that hold up no mail; name, times and counts stay,
    and the same `send` is still refused. With --forget they go too. The suppression list stays.

    Example: mailer prune --older-than 90d --dry-run
    """
    if older_than is None and campaign is None:
        raise InputError("which campaigns?", hint="Give --older-than 90d, or --campaign CAMPAIGN.")
    settings = Settings.load(ledger=ledger)
    before = time.time() - _age(older_than)
    with open_ledger(settings, quiet=dry_run) as rooms:
        chosen = _chosen(rooms, before, campaign)
        rows = sum(one.total for one in chosen)
        if not as_json:
            _show(chosen)
        if chosen and not dry_run:
            if not yes and not ask(f"Remove {count(rows, 'recipient')} for good?"):
                raise InputError(
                    "nothing was removed", hint="Answer y, or give --yes where there is no terminal."
                )
            _prune(rooms, chosen, keep_counts=keep_counts, quiet=as_json)
    if as_json:
        say_json([_told(one, removed=not dry_run) for one in chosen])
    elif chosen and not dry_run:
        say(f"removed: {count(rows, 'recipient')} of {count(len(chosen), 'campaign')}")
        if settings.ledger_url.startswith("sqlite"):
            note(_VACUUM)


def _age(text: str | None) -> float:
    try:
        return 0.0 if text is None else seconds(text)
    except ValueError as error:
        raise InputError(f"--older-than: {error}") from None


def _chosen(rooms: LedgerRooms, before: float, reference: str | None) -> list[Campaign]:
    over = rooms.pruning.over_before(before)
    if reference is None:
        return over
    wanted = control.find(rooms, reference)
    return [one for one in over if one.id == wanted.id]


def _prune(rooms: LedgerRooms, chosen: list[Campaign], *, keep_counts: bool, quiet: bool) -> None:
    for one in chosen:
        with progress(one.slug, quiet=quiet) as show:
            rooms.pruning.prune(one.id, partial(_removed, show, one.total))
        if not keep_counts:
            rooms.pruning.forget(one.id)


def _removed(show: Show, total: int, gone: int) -> None:
    show(gone, total, "removed")


def _show(chosen: list[Campaign]) -> None:
    if not chosen:
        say("nothing to remove")
        return
    rows = [(one.slug, one.state, shown(one.finished_at or 0.0), f"{one.total:,}") for one in chosen]
    say_table(("campaign", "state", "ended", "recipients"), rows)


def _told(one: Campaign, *, removed: bool) -> dict[str, Any]:
    return {"id": one.slug, "recipients": one.total, "removed": removed}
