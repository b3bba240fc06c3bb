"""``mailer prune``: recipients of campaigns that are long over."""

from __future__ import annotations

import shlex
import time
from functools import partial
from typing import Annotated, Any, NamedTuple

import typer

from mailer.campaigns import control
from mailer.campaigns.durations import seconds
from mailer.campaigns.times import shown
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Json, Ledger, Yes, parsed
from mailer.cli.output import ask, count, note, say, say_json, say_table
from mailer.cli.progress import Show, progress
from mailer.errors import InputError, StateConflict
from mailer.ledger.contract import Campaign, CampaignState
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings

_SQLITE = "sqlite:///"
_VACUUM = (
    "The space is used again by later campaigns. To make the file smaller, with nothing running:"
    " sqlite3 {} VACUUM"
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
    and the same `send` is still refused. With --forget they go too. The suppression list stays. Of the single
    messages of applications those go that were settled longer ago than --older-than.

    Example: mailer prune --older-than 90d --dry-run
    """
    if older_than is None and campaign is None:
        raise InputError("which campaigns?", hint="Give --older-than 90d, or --campaign CAMPAIGN.")
    settings = Settings.load(ledger=ledger)
    age = 0.0 if older_than is None else parsed("--older-than", seconds, older_than)
    before = time.time() - age
    with open_ledger(settings, quiet=dry_run) as rooms:
        chosen = _chosen(rooms, before, dated=older_than is not None, forget=not keep_counts)
        if campaign is not None:
            chosen = _only(chosen, control.find(rooms, campaign), dated=older_than is not None)
        if not as_json:
            _show(chosen)
        if chosen and not dry_run:
            _agree(chosen, yes=yes)
            _prune(rooms, chosen, before, keep_counts=keep_counts, quiet=as_json)
    if as_json:
        say_json([_told(one, removed=not dry_run) for one in chosen])
    elif chosen and not dry_run:
        _show_removed(chosen, settings.ledger_url)


class _Part(NamedTuple):
    """What goes of a campaign: all of one that is over, or what was settled long ago of an open one."""

    campaign: Campaign
    rows: int
    whole: bool


def _chosen(rooms: LedgerRooms, before: float, *, dated: bool, forget: bool) -> list[_Part]:
    parts = [_Part(one, one.total, whole=True) for one in rooms.pruning.over_before(before)]
    if forget:
        known = {one.campaign.id for one in parts}
        left = rooms.pruning.over_before(before, empty=True)
        parts += [_Part(one, 0, whole=True) for one in left if one.id not in known]
    if dated:
        parts += [_Part(one, rows, whole=False) for one, rows in rooms.pruning.settled_before(before)]
    return parts


def _only(chosen: list[_Part], wanted: Campaign, *, dated: bool) -> list[_Part]:
    """What goes of this one. Raises StateConflict, InputError where nothing of it ever could."""
    parts = [one for one in chosen if one.campaign.id == wanted.id]
    if not parts:
        _refuse(wanted, dated=dated)
    return parts


def _refuse(wanted: Campaign, *, dated: bool) -> None:
    """Somebody named a campaign of which nothing can go: that is a mistake, unless it is gone already."""
    if wanted.state in (CampaignState.FINISHED, CampaignState.CANCELLED):
        return
    if not wanted.spec.get("letters"):
        raise StateConflict(
            f"cannot prune {wanted.slug}: it is {wanted.state}; `mailer cancel {wanted.slug}` ends it"
        )
    if not dated:
        raise InputError(
            f"{wanted.slug} has no end", hint="Give --older-than as well: what was settled longer ago goes."
        )


def _agree(chosen: list[_Part], *, yes: bool) -> None:
    if not yes and not ask(f"Remove {count(_rows(chosen), 'recipient')} for good?"):
        raise InputError("nothing was removed", hint="Answer y, or give --yes where there is no terminal.")


def _prune(rooms: LedgerRooms, chosen: list[_Part], before: float, *, keep_counts: bool, quiet: bool) -> None:
    for one in chosen:
        id_ = one.campaign.id
        with progress(one.campaign.slug, quiet=quiet) as show:
            told = partial(_removed, show, one.rows)
            if one.whole:
                rooms.pruning.prune(id_, told)
            else:
                rooms.pruning.prune_settled(id_, before, told)
        if one.whole and not keep_counts:
            rooms.pruning.forget(id_)


def _removed(show: Show, total: int, gone: int) -> None:
    show(gone, total, "removed")


def _show(chosen: list[_Part]) -> None:
    if not chosen:
        say("nothing to remove")
        return
    rows = [(one.campaign.slug, one.campaign.state, _ended(one.campaign), f"{one.rows:,}") for one in chosen]
    say_table(("campaign", "state", "ended", "recipients"), rows)


def _show_removed(chosen: list[_Part], ledger_url: str) -> None:
    say(f"removed: {count(_rows(chosen), 'recipient')} of {count(len(chosen), 'campaign')}")
    if ledger_url.startswith(_SQLITE):
        note(_VACUUM.format(shlex.quote(ledger_url.removeprefix(_SQLITE))))


def _rows(chosen: list[_Part]) -> int:
    return sum(one.rows for one in chosen)


def _ended(one: Campaign) -> str:
    return "" if one.finished_at is None else shown(one.finished_at)


def _told(one: _Part, *, removed: bool) -> dict[str, Any]:
    return {"id": one.campaign.slug, "recipients": one.rows, "removed": removed}
