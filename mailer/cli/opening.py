"""What `send`, `resume` and `enqueue` do before the first message: check, ask, open, or go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mailer.campaigns.opening import match, open_campaign
from mailer.campaigns.prepared import Prepared
from mailer.campaigns.spec import CampaignSpec
from mailer.campaigns.times import shown
from mailer.cli.checking import examine, prepared_campaign
from mailer.cli.output import ask, count, note, say
from mailer.cli.probing import is_local, probe
from mailer.cli.reports import show_report
from mailer.errors import InputError
from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings
from mailer.wiring import backend_name, care, knows_keys


def open_or_go_on(
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
    with _told_if_interrupted(), prepared_campaign(spec, settings) as prepared:
        found = match(rooms, prepared, again=again)
        if found.complete and (known := found.campaign):
            note(f"{known.slug} is not finished yet: going on with it")
            probe(settings, wish or known.backend)
            return awake(rooms, _rescheduled(rooms, known, spec.start_at), settings, wish)
        _not_passed(spec.start_at, settings)
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
                start_at=spec.start_at,
                recipients_per_task=settings.recipients_per_task,
                knows_keys=knows_keys(settings, wish),  # the name has no login any more
            )
        finally:
            report.close()


@contextmanager
def _told_if_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note("nothing was sent by this command yet; the same command goes on from here")
        raise


def _rescheduled(rooms: LedgerRooms, campaign: Campaign, start_at: float | None) -> Campaign:
    """Another time to start, for one that has not."""
    if start_at is None or campaign.state is not CampaignState.SCHEDULED or start_at == campaign.start_at:
        return campaign
    rooms.campaigns.schedule(campaign.id, start_at)
    return rooms.campaigns.by_id(campaign.id)


def _not_passed(start_at: float | None, settings: Settings) -> None:
    if start_at is not None and start_at < time.time() - care(settings).misfire_after:
        raise InputError(
            f"start_at: {shown(start_at)} has passed",
            hint="Give a time to come, or leave it out to start now.",
        )


def awake(rooms: LedgerRooms, campaign: Campaign, settings: Settings, wish: str | None) -> Campaign:
    """A paused campaign runs again, through another backend if one is wished for."""
    if wish is not None and (name := backend_name(settings, wish)) != campaign.backend:
        rooms.campaigns.set_backend(campaign.id, name, knows_keys(settings, wish))
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
        if prepared.spec.sandbox:
            say("Sandbox      the provider checks everything and delivers nothing")
        if settings.safety.redirect_to:
            say(f"Redirected   everything goes to {settings.safety.redirect_to}")
    if yes or is_local(settings, backend):
        return
    where = " to the test mode" if prepared.spec.sandbox else ""
    if not ask(f"Send {count(report.valid, 'message')}{where}?"):
        raise InputError("nothing was sent", hint="Answer y, or give --yes where there is no terminal.")
