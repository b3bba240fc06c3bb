"""Commands that only look: ``status``, ``results`` and ``find``."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.campaigns import control
from mailer.campaigns.times import shown
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Json, Ledger
from mailer.cli.output import note, say, say_json, say_table
from mailer.cli.reports import OPEN, show_status
from mailer.delivery.leftovers import is_interrupted
from mailer.ledger.contract import Campaign, CampaignState
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings

#: How often --watch looks.
LOOK_SECONDS = 1.0
_OVER = frozenset({CampaignState.FINISHED, CampaignState.CANCELLED})


def status(
    campaign: Annotated[str | None, typer.Argument(metavar="CAMPAIGN", help="Default: all of them.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every second until it has ended.")
    ] = False,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show how far campaigns are.

    Example: mailer status november-newsletter-7f3a --watch
    """
    with open_ledger(Settings.load(ledger=ledger), quiet=True) as rooms:
        if campaign is None:
            _all(rooms, as_json=as_json)
            return
        found = control.find(rooms, campaign)
        _one(rooms, found.id, as_json=as_json)
        while watch and rooms.campaigns.by_id(found.id).state not in _OVER:
            time.sleep(LOOK_SECONDS)
            _one(rooms, found.id, as_json=as_json)


def _one(rooms: LedgerRooms, campaign_id: int, *, as_json: bool) -> None:
    campaign = rooms.campaigns.by_id(campaign_id)
    told = control.status(rooms, campaign)
    if as_json:
        say_json(told)
        return
    show_status(told, _remark(rooms, campaign))
    if is_interrupted(rooms, campaign):
        say(f"interrupted: go on with `mailer resume {campaign.slug}`")


def _remark(rooms: LedgerRooms, campaign: Campaign) -> str | None:
    """Why it stands still, if it does, and what else is worth a word."""
    if campaign.pruned_at is not None:
        return f"recipients removed {shown(campaign.pruned_at)}"
    if campaign.state is CampaignState.PAUSED:
        return campaign.reason
    if campaign.state is CampaignState.SCHEDULED and campaign.start_at is not None:
        return f"starts {shown(campaign.start_at)}"
    if campaign.state is CampaignState.RUNNING and campaign.backend in rooms.backends.paused():
        return f"waits: backend {campaign.backend!r} is paused"
    return None


def _all(rooms: LedgerRooms, *, as_json: bool) -> None:
    told = [
        (control.status(rooms, campaign), is_interrupted(rooms, campaign))
        for campaign in rooms.campaigns.list()
    ]
    if as_json:
        for one, _ in told:
            say_json(one)
    elif not told:
        say("no campaigns yet; `mailer init` writes a first one")
    else:
        rows = [
            (
                t["id"],
                "interrupted" if interrupted else t["state"],
                f"{t['total']:,}",
                f"{t['counts']['accepted']:,}",
                f"{_open(t['counts']):,}",
            )
            for t, interrupted in told
        ]
        say_table(("campaign", "state", "rows", "accepted", "open"), rows)


def _open(counts: dict[str, int]) -> int:
    return sum(counts[state] for state in OPEN)


def results(
    campaign: Annotated[
        str, typer.Argument(metavar="CAMPAIGN", help="Id, beginning of it, or campaign file.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "csv",
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only rows in this state; may be given twice.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Do not guard cells that a spreadsheet would run as a formula.")
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Also mail_reference: the provider's or relay's own id.")
    ] = False,
    ledger: Ledger = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Export the recipients with what became of each.

    Your columns, then mail_state, mail_attempts, mail_code, mail_reply, mail_reason, mail_message_id,
    mail_backend, mail_at and mail_outcome.

    Example: mailer results november-newsletter-7f3a --state rejected -o rejected.csv
    """
    from mailer.campaigns.results import export

    with open_ledger(Settings.load(ledger=ledger), quiet=True) as rooms:
        found = control.find(rooms, campaign)
        target = output if output is not None else sys.stdout
        rows = export(
            rooms,
            found,
            target,
            format="jsonl" if as_json else form,
            states=state,
            formula_guard=not raw,
            reference=reference,
        )
    if output is not None:
        note(f"{rows:,} rows in {output}")


def find(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address.")],
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show everything that was sent to one address.

    Every try, what the server said, and what became of it.

    Example: mailer find ada@example.com
    """
    with open_ledger(Settings.load(ledger=ledger), quiet=True) as rooms:
        histories = list(control.history(rooms, email))
    if as_json:
        for history in histories:
            say_json(history)
    elif not histories:
        say(f"nothing that was sent to {email} is in this ledger; what `mailer prune` removed no longer is")
    else:
        _tell(histories)
    if not histories:
        raise typer.Exit(1)


def _tell(histories: list[dict[str, Any]]) -> None:
    for history in histories:
        say(f"{history['campaign']}  {history['state']}  {_when(history['at'])}  {history['message_id']}")
        for attempt in history["attempts"]:
            said = " ".join(str(part) for part in (attempt["code"], attempt["reply"]) if part)
            say(f"  try {attempt['number']}, {_when(attempt['at'])}: {attempt['state']} {said}".rstrip())
        if history["reference"]:
            say(f"  {history['backend']} calls it {history['reference']}")
        if history["reason"]:
            say(f"  {history['reason']}")
        for copy in history["refused_copies"]:
            say(f"  the copy to {copy['recipient']} was refused: {copy['code']} {copy['reply']}")


def _when(at: str | None) -> str:
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}" if at else "not yet"
