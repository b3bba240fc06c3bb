"""Commands that change what or how a campaign sends: ``set`` and ``update``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.campaigns import control
from mailer.campaigns.times import moment, shown
from mailer.cli.ledgers import open_ledger, workers_told
from mailer.cli.options import CampaignName, Json, Ledger, parsed
from mailer.cli.output import count, say, say_json
from mailer.cli.progress import progress
from mailer.cli.testmode import as_opened
from mailer.delivery.leftovers import take_back
from mailer.delivery.limits.rates import parse_all
from mailer.errors import InputError, StateConflict
from mailer.ledger.contract import Campaign, CampaignState
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings
from mailer.wiring import backend_name, knows_keys

Rates = Annotated[
    list[str] | None,
    typer.Option("--rate", metavar="RATE", help='Limit, such as "20/s"; several must all allow.'),
]


def set(  # noqa: A001 - what the command is called
    campaign: CampaignName,
    rate: Rates = None,
    no_rate: Annotated[
        bool, typer.Option("--no-rate", help="No limit of its own; that of the backend holds.")
    ] = False,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME|URL", help="What is not sent yet goes out here.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=-100, max=100, help="Higher ones get their turn first.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help='Another time to start, or "now".')
    ] = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Change how a campaign is sent, also while it runs.

    Every process that sends it notices within a second. Recipients and content stay as they are.

    Example: mailer set november-newsletter-7f3a --rate 20/s --rate 5000/h
    """
    settings = Settings.load(ledger=ledger)
    rates = _rates(rate, none=no_rate)
    start = None if at is None or at == "now" else parsed("--at", moment, at)
    if rates is None and backend is None and priority is None and at is None:
        raise InputError("nothing to change", hint="Give --rate, --no-rate, --backend, --priority or --at.")
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        found = control.find(rooms, campaign)
        if found.state is CampaignState.CANCELLED:
            raise StateConflict(f"{found.slug} is cancelled: it sends nothing any more")
        way = None if backend is None else _way(settings, found, backend)
        if at is not None:
            rooms.campaigns.schedule(found.id, start)
        if rates is not None:
            rooms.campaigns.set_rates(found.id, rates)
        if way is not None:
            rooms.campaigns.set_backend(found.id, *way)
        if priority is not None:
            rooms.campaigns.set_priority(found.id, priority)
        tell(found)
        _told(rooms, rooms.campaigns.by_id(found.id), as_json=as_json)


def update(
    campaign: CampaignName,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Campaign file; default: that it was opened from."),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Instead of the file's.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="Instead of the file's.")] = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Correct the template or subject of a paused campaign for those who wait.

    The rows that are not sent yet are checked again with the new content; when one of them fails, nothing
    changes. Recipients stay as they are. `results` then shows which version each row was sent with.

    Example: mailer update november-newsletter-7f3a
    """
    from mailer.campaigns.updating import update as correct

    settings = Settings.load(ledger=ledger)
    changes = {key: value for key, value in (("subject", subject), ("template", template)) if value}
    with (
        open_ledger(settings) as rooms,
        workers_told(settings) as tell,
        progress("checking", quiet=as_json) as show,
    ):
        found = control.find(rooms, campaign)
        take_back(rooms, found)
        made = correct(
            rooms,
            found,
            template_root=settings.template_root,
            file=file,
            changes=changes,
            on_progress=lambda rows: show(rows, 0, ""),
        )
        tell(made.campaign)
        if as_json:
            say_json(control.status(rooms, made.campaign))
            return
    slug, version = made.campaign.slug, made.campaign.version
    say(f"{slug}: version {version} for {count(made.rows, 'recipient')}; go on with: mailer resume {slug}")


def _rates(given: list[str] | None, *, none: bool) -> list[str] | None:
    if not given:
        return [] if none else None
    if none:
        raise InputError("--rate and --no-rate contradict each other")
    parsed("--rate", parse_all, given)
    return given


def _way(settings: Settings, campaign: Campaign, wish: str) -> tuple[str, dict[str, Any] | None]:
    """The backend's name, and what is known of its keys. Raises ConfigError before anything has changed."""
    settings, backend = as_opened(settings, campaign, wish)
    return backend_name(settings, backend), knows_keys(settings, backend)


def _told(rooms: LedgerRooms, campaign: Campaign, *, as_json: bool) -> None:
    if as_json:
        say_json(control.status(rooms, campaign))
        return
    rates = ", ".join(campaign.spec.get("rates") or ()) or "of the backend only"
    say(f"{campaign.slug}: backend {campaign.backend}, rate {rates}, priority {campaign.priority}")
    if campaign.started_at is None and campaign.start_at is not None:
        say(f"starts {shown(campaign.start_at)}")
