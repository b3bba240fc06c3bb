"""One campaign run in this process, or watched while others run it, and what the terminal says of it."""

from __future__ import annotations

from typing import Any

import typer

from mailer.campaigns import control
from mailer.campaigns.durations import seconds
from mailer.campaigns.results import REFUSED, reasons
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import parsed
from mailer.cli.output import count, note, say_json, span
from mailer.cli.progress import describe, progress
from mailer.cli.reports import OPEN, all_went, show_reasons, show_status
from mailer.delivery import loop
from mailer.delivery.orders import Reason, RunResult
from mailer.delivery.runner import run_embedded
from mailer.ledger.contract import Campaign
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.logs import set_up
from mailer.settings import Settings
from mailer.wiring import backend_configs, backend_rates, care, routes, safety, sender_rates

#: How often --watch looks.
LOOK_SECONDS = 0.2
#: A row in one of these states has cost no recipient anything.
_UNTOUCHED = ("pending", "suppressed")


def patience(text: str) -> float:
    return parsed("--wait", seconds, text)


def run_here(
    campaign: Campaign,
    settings: Settings,
    backend: str | None,
    *,
    limit: int | None,
    wait: float,
    accept: bool,
    quiet: bool,
) -> RunResult:
    logs = (settings.log_format, settings.log_level)
    if settings.log_format == "json":
        set_up(*logs)  # not by way of the progress bar, which would break long lines
    also = [wish for wish in (campaign.backend, backend) if wish]
    with progress(campaign.name, quiet=quiet) as show:
        if settings.log_format == "text":
            set_up(*logs)

        def report(counts: Any, rate: float) -> None:
            done, text = describe(counts, rate)
            show(done, campaign.total, text)

        return loop.run(
            run_embedded(
                settings.ledger_url,
                campaign.id,
                backends=backend_configs(settings, *also),
                limit=limit,
                wait=wait,
                on_progress=report,
                accept_epoch=accept,
                logs=logs,
                **_as_set(settings),
            )
        )


def _as_set(settings: Settings) -> dict[str, Any]:
    """What every run takes from the settings as they are."""
    return {
        "rates": backend_rates(settings),
        "senders": sender_rates(settings),
        "routes": routes(settings),
        "processes": settings.processes,
        "safety": safety(settings),
        "lease_seconds": settings.lease_seconds,
        "recipients_per_task": settings.recipients_per_task,
        "care": care(settings),
    }


def conclude(campaign: Campaign, settings: Settings, result: RunResult, *, as_json: bool) -> None:
    """Show what became of it, say how to go on, and leave with the code that says so."""
    with open_ledger(settings, quiet=True) as rooms:
        status = control.status(rooms, rooms.campaigns.by_id(campaign.id))
        show(status, as_json=as_json)
        if not as_json and any(status["counts"][state] for state in REFUSED):
            show_reasons(reasons(rooms, campaign))
    slug = campaign.slug
    told = {
        Reason.WAITING: f"some wait for their next try{_when(result)}; go on with: mailer resume {slug}",
        Reason.PAUSED: f"paused: {result.detail}\nGo on with: mailer resume {slug}",
        Reason.INTERRUPTED: f"interrupted; nothing is lost. Go on with: mailer resume {slug}",
        Reason.LIMIT: f"paused after the number you asked for; go on with: mailer resume {slug}",
    }
    if result.reason in told:
        note(told[result.reason])
    elif not as_json:
        note(f"{_rate(status, result)}What became of each: mailer results {slug}")
    if result.reason is Reason.INTERRUPTED:
        raise typer.Exit(130)
    if result.reason is Reason.PAUSED and _refused_as_a_whole(status, result):
        raise typer.Exit(2)
    if result.reason in (Reason.WAITING, Reason.PAUSED) or not all_went(status):
        raise typer.Exit(1)


def _refused_as_a_whole(status: dict[str, Any], result: RunResult) -> bool:
    """The backend wants none of it: not our login, not our sender. Nobody got anything."""
    tried = any(number for state, number in status["counts"].items() if state not in _UNTOUCHED)
    return not tried and (result.detail or "").startswith("backend ")


def _rate(status: dict[str, Any], result: RunResult) -> str:
    done = sum(status["counts"].values())
    return f"{count(done, 'recipient')} in {span(result.seconds)}. " if result.seconds >= 1 else ""


def _when(result: RunResult) -> str:
    from datetime import datetime

    if result.next_due is None:
        return ""
    return f" ({datetime.fromtimestamp(result.next_due).astimezone():%Y-%m-%d %H:%M})"


def show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(status)
    else:
        show_status(status)


def watched(rooms: LedgerRooms, campaign: Campaign, *, quiet: bool) -> dict[str, Any]:
    """The status when the campaign has ended, or was paused."""
    with progress(campaign.name, quiet=quiet) as show:

        def tell(status: dict[str, Any]) -> None:
            counts = status["counts"]
            show(status["total"] - sum(counts[state] for state in OPEN), status["total"], "")

        return control.status(rooms, control.watch(rooms, campaign, tell, seconds=LOOK_SECONDS))
