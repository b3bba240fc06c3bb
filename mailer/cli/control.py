"""Commands that change a campaign under way: ``pause``, ``cancel``, ``retry`` and ``add``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mailer.campaigns import control
from mailer.cli.ledgers import open_ledger, workers_told
from mailer.cli.options import CampaignName, Json, Ledger, Yes
from mailer.cli.output import ask, count, say, say_json
from mailer.delivery.leftovers import take_back
from mailer.errors import InputError, StateConflict
from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.message import State
from mailer.settings import Settings

#: How often --wait looks.
LOOK_SECONDS = 0.2


def pause(
    campaign: CampaignName,
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing is in flight any more.")] = False,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Stop a campaign; only what is in flight finishes.

    Says how many that are. Time paused does not count against retry budgets.

    Example: mailer pause november-newsletter-7f3a --wait
    """
    settings = Settings.load(ledger=ledger)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        found = control.find(rooms, campaign)
        take_back(rooms, found)
        change = control.pause(rooms, found)
        tell(found)
        while wait and rooms.campaigns.in_flight(change.campaign.id):
            time.sleep(LOOK_SECONDS)
        flying = 0 if wait else change.in_flight
        _told(rooms, change.campaign, f"paused; {count(flying, 'message')} in flight", as_json=as_json)


def cancel(
    campaign: CampaignName,
    yes: Yes = False,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Give up what a campaign has not sent yet.

    There is no way back.

    Example: mailer cancel november-newsletter-7f3a
    """
    settings = Settings.load(ledger=ledger)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        found = control.find(rooms, campaign)
        over = found.state in (CampaignState.FINISHED, CampaignState.CANCELLED)
        if not over and not yes and not ask(f"Cancel {found.slug} for good?"):
            raise InputError(
                "nothing was cancelled", hint="Answer y, or give --yes where there is no terminal."
            )
        change = control.cancel(rooms, found)
        tell(found)
        text = f"cancelled; nothing goes to {count(change.rows, 'recipient')}, {change.in_flight} in flight"
        _told(rooms, change.campaign, text, as_json=as_json)


def retry(
    campaign: CampaignName,
    failed: Annotated[
        bool, typer.Option("--failed", help="Rows whose time ran out or that could not be made.")
    ] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Rows that were sent without an answer: may arrive twice.")
    ] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Rows that the server refused for good.")
    ] = False,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Try rows again that failed, were refused or are unknown.

    Without an option: those that failed. They wait again, with a fresh retry budget; `mailer resume` sends
    them. With --rejected, suppressions that those very refusals made are lifted; others stay.

    Example: mailer retry november-newsletter-7f3a --unknown
    """
    wanted = {State.FAILED: failed, State.UNKNOWN: unknown, State.REJECTED: rejected}
    states = [state for state, given in wanted.items() if given] or [State.FAILED]
    settings = Settings.load(ledger=ledger)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        change = control.retry(rooms, control.find(rooms, campaign), states)
        tell(change.campaign)
        if not change.rows:
            raise StateConflict(_nothing_again(rooms, change.campaign, states))
        text = f"{count(change.rows, 'recipient')} will be tried again{_by(change.campaign)}"
        if change.lifted:
            text += f"; {count(change.lifted, 'address', 'addresses')} no longer suppressed"
        _told(rooms, change.campaign, text, as_json=as_json)


def _by(campaign: Campaign) -> str:
    """What makes the rows go that were just put back or added."""
    if campaign.state is CampaignState.RUNNING and campaign.runner is not Runner.EMBEDDED:
        return "; the workers go on with it"
    return f"; go on with: mailer resume {campaign.slug}"


def _nothing_again(rooms: LedgerRooms, campaign: Campaign, states: list[State]) -> str:
    counts = rooms.campaigns.counts(campaign.id).states
    others = [
        f"{counts[state]:,} {state} (--{state})"
        for state in (State.FAILED, State.UNKNOWN, State.REJECTED)
        if counts[state] and state not in states
    ]
    hint = f"; there are {' and '.join(others)}" if others else ""
    return f"{campaign.slug}: nothing to try again: no recipient is {' or '.join(states)}{hint}"


def add(
    campaign: CampaignName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recipients with the same columns.")],
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Add recipients to a campaign, such as corrected rows.

    The corrected CAMPAIGN.invalid.csv goes in as it is. Every row is checked first. Those that the campaign
    has already are left out.

    Example: mailer add november-newsletter-7f3a campaign.invalid.csv
    """
    from mailer.campaigns.adding import add as add_rows

    settings = Settings.load(ledger=ledger)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        added = add_rows(rooms, control.find(rooms, campaign), file)
        tell(added.campaign)
        text = f"{count(added.rows, 'recipient')} added"
        if added.invalid:
            text += f", {added.invalid} cannot be sent: {added.invalid_file}"
        if added.rows:
            text += _by(added.campaign)
        _told(rooms, added.campaign, text, as_json=as_json)
    if added.invalid:
        raise typer.Exit(1)


def _told(rooms: LedgerRooms, campaign: Campaign, text: str, *, as_json: bool) -> None:
    if as_json:
        say_json(control.status(rooms, rooms.campaigns.by_id(campaign.id)))
    else:
        say(f"{campaign.slug}: {text}")
