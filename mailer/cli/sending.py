"""Commands that set mail going: ``send``, ``resume`` and ``enqueue``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailer.campaigns import control
from mailer.campaigns.durations import seconds
from mailer.campaigns.opening import match, open_campaign
from mailer.campaigns.prepared import Prepared
from mailer.campaigns.spec import CampaignSpec
from mailer.cli.checking import examine, prepared_campaign, settings_for
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import (
    Backend,
    CampaignFile,
    CampaignName,
    Json,
    Ledger,
    Yes,
    campaign_spec,
    with_campaign_keys,
)
from mailer.cli.output import ask, count, note, say, say_json, span
from mailer.cli.probing import is_local, probe
from mailer.cli.progress import describe, progress
from mailer.cli.reports import OPEN, all_went, show_report, show_status
from mailer.delivery import loop
from mailer.delivery.orders import Reason, RunResult
from mailer.delivery.runner import run_embedded
from mailer.errors import ConfigError, InputError
from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings
from mailer.wiring import (
    backend_configs,
    backend_name,
    backend_rates,
    knows_keys,
    routes,
    safety,
    sender_rates,
)

#: How often --watch looks.
LOOK_SECONDS = 0.2

Wait = Annotated[
    str,
    typer.Option("--wait", metavar="TIME", help="End when only rows are left that wait longer than this."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Send the next N, then pause.")
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, max=64, help="Processes that send; default 1.")
]
AcceptEpoch = Annotated[
    bool, typer.Option("--accept-epoch", help="The ledger was restored from a backup, and I have looked.")
]


@with_campaign_keys
def send(
    campaign: CampaignFile = None,
    limit: Limit = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send although this very campaign was sent before.")
    ] = False,
    wait: Wait = "10m",
    processes: Processes = None,
    accept_epoch: AcceptEpoch = False,
    ledger: Ledger = None,
    backend: Backend = None,
    yes: Yes = False,
    as_json: Json = False,
    *,
    overrides: dict[str, Any],
) -> None:
    """Send a campaign from here to the end.

    Checks every row first, says what will happen, and asks. The same command goes on with a campaign that
    was interrupted, and refuses one that is finished.

    Example: mailer send campaign.toml --processes 2
    """
    spec = campaign_spec(campaign, overrides)
    patience = _patience(wait)
    if spec.reads_stdin and not yes:
        raise InputError("recipients from standard input need --yes", hint="There is no terminal to ask on.")
    settings = settings_for(spec, ledger, processes=processes)
    with open_ledger(settings) as rooms:
        opened = _open(rooms, spec, settings, backend, again=again, yes=yes, quiet=as_json)
    result = _run(opened, settings, backend, limit=limit, wait=patience, accept=accept_epoch, quiet=as_json)
    _conclude(opened, settings, result, as_json=as_json)


def resume(
    campaign: CampaignName,
    limit: Limit = None,
    wait: Wait = "10m",
    processes: Processes = None,
    accept_epoch: AcceptEpoch = False,
    ledger: Ledger = None,
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Go on with a campaign that was paused or interrupted.

    A campaign that `send` opened runs here in the foreground; one that was enqueued goes back to the workers.

    Example: mailer resume november-newsletter-7f3a
    """
    patience = _patience(wait)
    settings = Settings.load(ledger=ledger, processes=processes)
    with open_ledger(settings) as rooms:
        found = _awake(rooms, control.find(rooms, campaign), settings, backend)
    if found.runner is Runner.WORKERS:
        note(f"{found.slug} goes on with the workers")
        return
    probe(settings, backend or found.backend)
    result = _run(found, settings, backend, limit=limit, wait=patience, accept=accept_epoch, quiet=as_json)
    _conclude(found, settings, result, as_json=as_json)


@with_campaign_keys
def enqueue(
    campaign: CampaignFile = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the campaign has ended.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Send although this very campaign was sent before.")
    ] = False,
    ledger: Ledger = None,
    backend: Backend = None,
    yes: Yes = False,
    as_json: Json = False,
    *,
    overrides: dict[str, Any],
) -> None:
    """Hand a campaign to the workers.

    Checks every row first, says what will happen, and asks. Needs a broker; `mailer worker` does the work.

    Example: mailer enqueue campaign.toml --watch
    """
    from mailer.cli.servers import NO_BROKER
    from mailer.publisher import ping

    spec = campaign_spec(campaign, overrides)
    settings = settings_for(spec, ledger)
    if settings.broker_url is None:
        raise ConfigError(NO_BROKER)
    if spec.reads_stdin and not yes:
        raise InputError("recipients from standard input need --yes", hint="There is no terminal to ask on.")
    ping(settings.broker_url)
    with open_ledger(settings) as rooms:
        opened = _open(
            rooms, spec, settings, backend, again=again, yes=yes, quiet=as_json, runner=Runner.WORKERS
        )
        status = _watched(rooms, opened, quiet=as_json) if watch else control.status(rooms, opened)
    _show(status, as_json=as_json)
    if watch and not all_went(status):
        raise typer.Exit(1)


# Opening.


def _open(
    rooms: LedgerRooms,
    spec: CampaignSpec,
    settings: Settings,
    backend: str | None,
    *,
    again: bool,
    yes: bool,
    quiet: bool,
    runner: Runner = Runner.EMBEDDED,
) -> Campaign:
    wish = backend or spec.backend
    name = backend_name(settings, wish)
    with prepared_campaign(spec, settings) as prepared:
        found = match(rooms, prepared, again=again)
        if found.complete and (known := found.campaign):
            note(f"{known.slug} is not finished yet: going on with it")
            probe(settings, wish or known.backend)
            return _awake(rooms, known, settings, wish)
        probe(settings, wish or name)
        report = examine(prepared, settings, backend, quiet=quiet, keep_rows=True)
        try:
            _agree(prepared, settings, report, name, yes=yes, quiet=quiet)
            return open_campaign(
                rooms,
                prepared,
                report,
                backend=name,
                runner=runner,
                again=again,
                recipients_per_task=settings.recipients_per_task,
                knows_keys=knows_keys(settings, name),
            )
        finally:
            report.close()


def _awake(rooms: LedgerRooms, campaign: Campaign, settings: Settings, wish: str | None) -> Campaign:
    """A paused campaign runs again, through another backend if one is wished for."""
    if wish is not None and (name := backend_name(settings, wish)) != campaign.backend:
        rooms.campaigns.set_backend(campaign.id, name)
    if campaign.state is CampaignState.PAUSED:
        rooms.campaigns.resume(campaign.id)
    elif campaign.state in (CampaignState.FINISHED, CampaignState.CANCELLED):
        raise InputError(
            f"{campaign.slug} is {campaign.state}",
            hint=f"`mailer retry {campaign.slug}` tries what did not go.",
        )
    return rooms.campaigns.by_id(campaign.id)


def _agree(
    prepared: Prepared, settings: Settings, report: Any, backend: str, *, yes: bool, quiet: bool
) -> None:
    """Say what will happen, and ask, unless nothing leaves this machine."""
    if not quiet:
        show_report(report)
        say(f"From         {prepared.mail.sender}")
        say(f"Through      {backend}")
        if settings.safety.redirect_to:
            say(f"Redirected   everything goes to {settings.safety.redirect_to}")
    if yes or is_local(settings, backend):
        return
    if not ask(f"Send {count(report.valid, 'message')}?"):
        raise InputError("nothing was sent", hint="Answer y, or give --yes where there is no terminal.")


# Running.


def _patience(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise InputError(f"--wait: {error}") from None


def _run(
    campaign: Campaign,
    settings: Settings,
    backend: str | None,
    *,
    limit: int | None,
    wait: float,
    accept: bool,
    quiet: bool,
) -> RunResult:
    also = [wish for wish in (campaign.backend, backend) if wish]
    with progress(campaign.name, quiet=quiet) as show:

        def report(counts: Any, rate: float) -> None:
            done, text = describe(counts, rate)
            show(done, campaign.total, text)

        return loop.run(
            run_embedded(
                settings.ledger_url,
                campaign.id,
                backends=backend_configs(settings, *also),
                rates=backend_rates(settings),
                senders=sender_rates(settings),
                routes=routes(settings),
                processes=settings.processes,
                safety=safety(settings),
                limit=limit,
                wait=wait,
                on_progress=report,
                lease_seconds=settings.lease_seconds,
                recipients_per_task=settings.recipients_per_task,
                accept_epoch=accept,
            )
        )


def _conclude(campaign: Campaign, settings: Settings, result: RunResult, *, as_json: bool) -> None:
    """Show what became of it, say how to go on, and leave with the code that says so."""
    with open_ledger(settings, quiet=True) as rooms:
        status = control.status(rooms, rooms.campaigns.by_id(campaign.id))
    _show(status, as_json=as_json)
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
    if result.reason in (Reason.WAITING, Reason.PAUSED) or not all_went(status):
        raise typer.Exit(1)


def _rate(status: dict[str, Any], result: RunResult) -> str:
    done = sum(status["counts"].values())
    return f"{count(done, 'recipient')} in {span(result.seconds)}. " if result.seconds >= 1 else ""


def _when(result: RunResult) -> str:
    from datetime import datetime

    if result.next_due is None:
        return ""
    return f" ({datetime.fromtimestamp(result.next_due).astimezone():%Y-%m-%d %H:%M})"


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(status)
    else:
        show_status(status)


def _watched(rooms: LedgerRooms, campaign: Campaign, *, quiet: bool) -> dict[str, Any]:
    """The status when the campaign has ended, or was paused."""
    with progress(campaign.name, quiet=quiet) as show:

        def tell(status: dict[str, Any]) -> None:
            counts = status["counts"]
            show(status["total"] - sum(counts[state] for state in OPEN), status["total"], "")

        return control.status(rooms, control.watch(rooms, campaign, tell, seconds=LOOK_SECONDS))
