"""Commands that look before anything is sent: ``check``, ``preview`` and ``test``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.campaigns.prepared import Prepared, prepare, stream_of
from mailer.campaigns.preview import Preview
from mailer.campaigns.report import Report
from mailer.campaigns.spec import CampaignSpec
from mailer.cli.options import Backend, CampaignFile, Json, Ledger, campaign_spec, with_campaign_keys
from mailer.cli.output import say, say_json
from mailer.cli.progress import progress
from mailer.cli.reports import report_json, show_report
from mailer.errors import InputError
from mailer.message import Accepted, Outcome
from mailer.settings import Settings


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


def prepared_campaign(spec: CampaignSpec, settings: Settings) -> Any:
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


def _estimate(prepared: Prepared, settings: Settings, backend: str | None) -> Any:
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


@with_campaign_keys
def preview(
    campaign: Annotated[
        str | None, typer.Argument(metavar="CAMPAIGN|TEMPLATE", help="A campaign file, or a template's name.")
    ] = None,
    row: Annotated[
        int | None, typer.Option("--row", min=1, help="Which row, from 1. Default: the first valid.")
    ] = None,
    email: Annotated[str | None, typer.Option("--email", help="The row of this address.")] = None,
    eml: Annotated[
        Path | None, typer.Option("--eml", help="Write the whole message to this file; - is standard output.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the page to this file; - is standard output.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    ledger: Ledger = None,
    *,
    overrides: dict[str, Any],
) -> None:
    """Show one message as it would be sent.

    A template by itself is filled with the sample data of its mail.toml.

    Example: mailer preview campaign.toml --email ada@example.com --html ada.html
    """
    from mailer.campaigns.preview import of_row, of_template

    if campaign is not None and not campaign.endswith(".toml") and not overrides:
        settings = Settings.load(ledger=ledger)
        shown = of_template(settings.template_root, campaign, files_root=settings.files_root)
    else:
        spec = campaign_spec(Path(campaign) if campaign else None, overrides)
        with prepared_campaign(spec, settings_for(spec, ledger)) as prepared:
            shown = of_row(prepared, row=row, address=email)
    if eml:
        _write(eml, shown.eml)
    page = (shown.html or "").encode()
    if html:
        _write(html, page)
    if open_:
        _open_page(page)
    if not (eml or html or open_):
        _print(shown)


def _print(shown: Preview) -> None:
    for name, value in shown.message.items():
        if name.lower() not in {"mime-version", "content-type", "content-transfer-encoding"}:
            say(f"{name}: {value}")
    say()
    say((shown.text or "(no text part)").rstrip())
    parts = [part for part in shown.message.walk() if part.get_filename() or part["Content-ID"]]
    for part in parts:
        say(f"[{part.get_content_type()} {part.get_filename() or ''}]".replace(" ]", "]"))
    if shown.html:
        say(f"[text/html, {len(shown.html):,} characters: --open shows it]")


def _write(file: Path, data: bytes) -> None:
    if str(file) == "-":
        sys.stdout.buffer.write(data)
        return
    file.touch(mode=0o600)
    file.write_bytes(data)
    say(f"wrote {file}")


def _open_page(page: bytes) -> None:
    import tempfile
    import webbrowser

    with tempfile.NamedTemporaryFile(prefix="mailer-", suffix=".html", delete=False) as file:
        file.write(page)
    if not webbrowser.open(f"file://{file.name}"):
        say(f"no browser here; the page is {file.name}")


@with_campaign_keys
def test(
    campaign: CampaignFile = None,
    to: Annotated[str, typer.Option("--to", metavar="ME", help="Your own address.")] = "",
    row: Annotated[
        int | None, typer.Option("--row", min=1, help="Which row, from 1. Default: the first valid.")
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="In the provider's test mode, which delivers nothing.")
    ] = False,
    ledger: Ledger = None,
    backend: Backend = None,
    *,
    overrides: dict[str, Any],
) -> None:
    """Send one rendered row to an address of your own.

    The campaign itself is untouched: nothing is written to the ledger, and Cc and Bcc get nothing.

    Example: mailer test campaign.toml --to me@example.com --row 3
    """
    from mailer.address import Address, AddressError
    from mailer.campaigns.preview import of_row

    if not to:
        raise InputError("to whom? --to gives your own address: --to me@example.com")
    try:
        address = Address.parse(to)
    except AddressError as error:
        raise InputError(f"--to {to!r}: {error.reason}") from None
    spec = campaign_spec(campaign, overrides)
    settings = settings_for(spec, ledger)
    with prepared_campaign(spec, settings) as prepared:
        shown = of_row(prepared, row=row)
    outcome, went = _send_one(settings, backend or spec.backend, shown, address.addr, sandbox=sandbox)
    reply = getattr(outcome, "reply", None)
    said = f" ({reply.code or ''} {reply.text})".replace("( ", "(") if reply else ""
    word = type(outcome).__name__.lower()
    say(f"{word}{said}: row {shown.row}, for {shown.address}, went to {went}")
    if not isinstance(outcome, Accepted):
        if reply and reply.reason:
            say(reply.reason)
        raise typer.Exit(1)


def _send_one(
    settings: Settings, wish: str | None, shown: Preview, to: str, *, sandbox: bool
) -> tuple[Outcome, str]:
    import asyncio

    from mailer.backends import connect, sandboxed
    from mailer.message import Outgoing
    from mailer.wiring import backends_of, chosen_backend, safety

    config = backends_of(settings, chosen_backend(settings, wish))[0]
    config = sandboxed(config) if sandbox else config
    recipients = safety(settings).envelope((to,))
    if recipients is None:
        raise InputError(f"{to} is not in [safety] allow_recipients, so nothing was sent")
    message = Outgoing(
        id=0,
        fence=0,
        sender=shown.composed.sender,
        recipients=recipients,
        content=shown.eml,
        message_id=str(shown.message["Message-ID"]),
        eight_bit=shown.composed.eight_bit,
        smtputf8=shown.composed.smtputf8,
        variables=shown.variables,
    )

    async def yes(_: Outgoing) -> bool:
        return True

    async def send() -> Outcome:
        backend = connect(config)
        try:
            return (await backend.send([message], yes))[0]
        finally:
            await backend.close()

    return asyncio.run(send()), recipients[0]
