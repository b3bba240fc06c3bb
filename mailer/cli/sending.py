"""Commands that set mail going: ``send``, ``resume`` and ``enqueue``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailer.backends import urls
from mailer.campaigns import control
from mailer.campaigns.spec import CampaignSpec
from mailer.campaigns.times import shown
from mailer.cli.checking import settings_for
from mailer.cli.ledgers import open_ledger, workers_told
from mailer.cli.opening import awake, open_or_go_on
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
from mailer.cli.output import note
from mailer.cli.probing import probe
from mailer.cli.reports import all_went
from mailer.cli.running import conclude, patience, run_here, show, watched
from mailer.cli.testmode import as_opened, in_test_mode
from mailer.delivery import epoch
from mailer.errors import ConfigError, InputError
from mailer.ledger.contract import CampaignState, Runner
from mailer.settings import Settings
from mailer.wiring import epoch_copy

Wait = Annotated[
    str,
    typer.Option("--wait", metavar="TIME", help="End when only rows are left that wait longer than this."),
]
#: Said when a campaign is scheduled here.
_WAITS = "starts {}; this command waits for that (`mailer enqueue` leaves it to the workers)"

Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Send the next N, then pause.")
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, max=64, help="Processes that send; default 1.")
]
Again = Annotated[bool, typer.Option("--again", help="Send although this very campaign was sent before.")]
Sandbox = Annotated[
    bool, typer.Option("--sandbox", help="To the provider's test mode, which delivers nothing.")
]
AcceptEpoch = Annotated[
    bool, typer.Option("--accept-epoch", help="The ledger was restored from a backup, and I have looked.")
]


@with_campaign_keys
def send(
    campaign: CampaignFile = None,
    limit: Limit = None,
    again: Again = False,
    sandbox: Sandbox = False,
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
    was interrupted, and refuses one that is finished. With --sandbox it is a campaign of its own, called
    so, and can be repeated; what is sent in earnest later does not know of it.

    Example: mailer send campaign.toml --processes 2
    """
    spec = campaign_spec(campaign, overrides)
    seconds = patience(wait)
    _check_can_ask(spec, yes=yes)
    settings = settings_for(spec, ledger, processes=processes)
    if sandbox:
        spec, settings, backend = _in_sandbox(spec, settings, backend)
    with open_ledger(settings) as rooms:
        opened = open_or_go_on(rooms, spec, settings, backend, again=again or sandbox, yes=yes, quiet=as_json)
    if opened.state is CampaignState.SCHEDULED and opened.start_at is not None:
        note(_WAITS.format(shown(opened.start_at)))
    result = run_here(
        opened, settings, backend, limit=limit, wait=seconds, accept=accept_epoch, quiet=as_json
    )
    conclude(opened, settings, result, as_json=as_json)


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
    seconds = patience(wait)
    settings = Settings.load(ledger=ledger, processes=processes)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        found = control.find(rooms, campaign)
        settings, backend = as_opened(settings, found, backend)
        if found.runner is not Runner.EMBEDDED:
            _refuse_login(backend)
            if accept_epoch:
                epoch.accept(rooms, epoch_copy(settings))
        found = awake(rooms, found, settings, backend)
        tell(found)
    if found.runner is not Runner.EMBEDDED:
        others = "workers" if found.runner is Runner.WORKERS else "application that sends it"
        note(f"{found.slug} goes on with the {others}")
        return
    probe(settings, backend or found.backend)
    result = run_here(found, settings, backend, limit=limit, wait=seconds, accept=accept_epoch, quiet=as_json)
    conclude(found, settings, result, as_json=as_json)


@with_campaign_keys
def enqueue(
    campaign: CampaignFile = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the campaign has ended.")] = False,
    again: Again = False,
    sandbox: Sandbox = False,
    ledger: Ledger = None,
    backend: Backend = None,
    yes: Yes = False,
    as_json: Json = False,
    *,
    overrides: dict[str, Any],
) -> None:
    """Hand a campaign to the workers.

    Checks every row first, says what will happen, and asks. Needs a broker; `mailer worker` does the work.
    With --at it starts then; a start that no worker was there for waits for `mailer resume`. With --sandbox
    it is a campaign of its own, as with `mailer send`.

    Example: mailer enqueue campaign.toml --at "2026-12-01 09:00 Europe/Berlin"
    """
    from mailer.cli.servers import NO_BROKER
    from mailer.publisher import ping

    spec = campaign_spec(campaign, overrides)
    settings = settings_for(spec, ledger)
    if settings.broker_url is None:
        raise ConfigError(NO_BROKER)
    _check_can_ask(spec, yes=yes)
    _refuse_login(backend or spec.backend)
    ping(settings.broker_url)
    if sandbox:
        spec, settings, backend = _in_sandbox(spec, settings, backend)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        opened = open_or_go_on(
            rooms,
            spec,
            settings,
            backend,
            again=again or sandbox,
            yes=yes,
            quiet=as_json,
            runner=Runner.WORKERS,
        )
        tell(opened)
        status = watched(rooms, opened, quiet=as_json) if watch else control.status(rooms, opened)
    show(status, as_json=as_json)
    if watch and not all_went(status):
        raise typer.Exit(1)


def _check_can_ask(spec: CampaignSpec, *, yes: bool) -> None:
    if spec.reads_stdin and not yes:
        raise InputError("recipients from standard input need --yes", hint="There is no terminal to ask on.")


def _in_sandbox(
    spec: CampaignSpec, settings: Settings, wish: str | None
) -> tuple[CampaignSpec, Settings, str]:
    """The campaign as one of its own, and its backend in test mode."""
    settings, twin = in_test_mode(settings, wish or spec.backend)
    return spec.model_copy(update={"sandbox": True}), settings, twin


def _refuse_login(wish: str | None) -> None:
    """Workers know a backend by its name or by its URL without the login: they could not log in."""
    if wish is None or ":" not in wish:
        return
    config = urls.parse("--backend", wish)
    if config.user or config.password:
        raise InputError(
            "workers do not get the login of a backend that is given as a URL",
            hint='Write it into their mailer.toml: [backends.main] with url = "…", and give --backend main.',
        )
