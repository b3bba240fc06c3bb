"""``check``: every row parsed and rendered before anything leaves; ``send`` and ``enqueue`` begin with it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.campaigns.prepared import Prepared, prepare, stream_of
from mailer.campaigns.report import Report
from mailer.campaigns.spec import CampaignSpec
from mailer.cli.options import Backend, CampaignFile, Json, Ledger, campaign_spec, with_campaign_keys
from mailer.cli.output import say, say_json
from mailer.cli.progress import progress
from mailer.cli.reports import report_json, show_report
from mailer.errors import InputError
from mailer.settings import Settings

if TYPE_CHECKING:
    from mailer.campaigns.preflight import Estimate


@with_campaign_keys
def check(
    campaign: CampaignFile = None,
    dns: Annotated[
        bool, typer.Option("--dns", help="Also look for the mail servers of every domain.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Default: one per core.")
    ] = None,
    ledger: Ledger = None,
    backend: Backend = None,
    as_json: Json = False,
    *,
    overrides: dict[str, Any],
) -> None:
    """Parse and render every row; say what is odd; send nothing.

    Rows that cannot be sent are written to CAMPAIGN.invalid.csv. Exit code 1 when there are any.

    Example: mailer check campaign.toml
    """
    spec = campaign_spec(campaign, overrides)
    settings = settings_for(spec, ledger)
    with prepared_campaign(spec, settings) as prepared:
        report = examine(prepared, settings, backend, processes=processes, quiet=as_json)
        report.close()
        problems = _dns_problems(report) if dns else {}
    if as_json:
        say_json({**report_json(report), **({"dns": problems} if dns else {})})
    else:
        show_report(report)
        for domain, problem in sorted(problems.items()):
            say(f"  dns: {domain}: {problem}")
    if report.invalid or problems:
        raise typer.Exit(1)


def settings_for(spec: CampaignSpec, ledger: str | None, **overrides: Any) -> Settings:
    """The settings that hold where the campaign file lies."""
    settings = Settings.load(spec.directory, ledger=ledger, **overrides)
    if settings.transactional_backend is None:
        return settings
    return settings.for_stream(stream_of(spec, settings.template_root))


def prepared_campaign(spec: CampaignSpec, settings: Settings) -> AbstractContextManager[Prepared]:
    """``prepare`` with what the settings say."""
    return prepare(
        spec,
        template_root=settings.template_root,
        files_root=settings.files_root,
        ledger_url=settings.ledger_url,
    )


def examine(
    prepared: Prepared,
    settings: Settings,
    backend: str | None,
    *,
    processes: int | None = None,
    quiet: bool = False,
    keep_rows: bool = False,
) -> Report:
    """Run the preflight with a progress display."""
    from mailer.campaigns.preflight import check as prove
    from mailer.ledger import open_ledger

    ledger = open_ledger(settings.ledger_url)
    try:
        with progress("checking", quiet=quiet) as show:
            report = prove(
                prepared,
                processes=processes,
                suppressions=ledger.suppressions,
                estimate=_estimate(prepared, settings, backend),
                on_progress=lambda rows: show(rows, 0, ""),
                keep_rows=keep_rows,
            )
    finally:
        ledger.close()
    try:
        _refuse_what_no_backend_can(report, prepared, settings, backend)
    except BaseException:
        report.close()
        raise
    return report


def _refuse_what_no_backend_can(
    report: Report, prepared: Prepared, settings: Settings, backend: str | None
) -> None:
    """A provider that takes fields cannot express everything that a message may be. Raises InputError."""
    from mailer.backends.complaints import complaints
    from mailer.wiring import backends_of

    wish = backend or prepared.spec.backend or settings.backend
    if report.sample is None or (wish is None and len(settings.backends) != 1):
        return
    mail = prepared.mail
    hidden = ["copy@example.org"] if mail.bcc else []
    found = [
        complaint
        for config in backends_of(settings, wish)
        for complaint in complaints(config, report.sample, return_path=mail.envelope_sender, hidden=hidden)
    ]
    if found:
        raise InputError(
            "\n".join(found), hint="Change the mail, or choose another backend: docs/reference/providers.md"
        )


def _estimate(prepared: Prepared, settings: Settings, backend: str | None) -> Estimate | None:
    """How long the limits alone make it take; None when no backend is chosen yet."""
    from mailer.content.identity import sending_domain
    from mailer.delivery.limits.estimate import duration
    from mailer.delivery.limits.plan import Limits
    from mailer.wiring import backend_rates, backends_of, sender_rates

    wish = backend or prepared.spec.backend or settings.backend
    if wish is None and len(settings.backends) != 1:
        return None
    limits = Limits(backend_rates(settings), sender_rates(settings))
    limits.set_campaign(0, prepared.spec.rate)
    name = backends_of(settings, wish)[0].name
    sender = sending_domain(prepared.mail.sender, prepared.mail.envelope_sender)
    return lambda lanes: duration(lanes, limits, backend=name, campaign_id=0, sender=sender)


def _dns_problems(report: Report) -> dict[str, str]:
    from mailer.campaigns.recipients.mx import lookup

    domains = [lane for lane in report.lanes if "." in lane]
    return {
        domain: problem.text for domain, problem in lookup(domains).items() if problem and problem.certain
    }
