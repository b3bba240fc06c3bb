"""``preview`` and ``test``: one message as it would be sent, shown, or sent to an address of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.campaigns.preview import Preview
from mailer.cli.checking import prepared_campaign, settings_for
from mailer.cli.options import Backend, CampaignFile, Ledger, campaign_spec, with_campaign_keys
from mailer.cli.output import say
from mailer.errors import InputError
from mailer.message import Accepted, Outcome, Outgoing
from mailer.settings import Settings


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
    from mailer.campaigns.preview import of_row

    own = _own_address(to)
    spec = campaign_spec(campaign, overrides)
    settings = settings_for(spec, ledger)
    with prepared_campaign(spec, settings) as prepared:
        shown = of_row(prepared, row=row)
    outcome, went = _send_one(settings, backend or spec.backend, shown, own, sandbox=sandbox)
    reply = getattr(outcome, "reply", None)
    said = f" ({reply.code or ''} {reply.text})".replace("( ", "(") if reply else ""
    say(f"{type(outcome).__name__.lower()}{said}: row {shown.row}, for {shown.address}, went to {went}")
    if isinstance(outcome, Accepted):
        return
    if reply and reply.reason:
        say(reply.reason)
    raise typer.Exit(1)


def _own_address(to: str) -> str:
    from mailer.address import Address, AddressError

    if not to:
        raise InputError("to whom? --to gives your own address: --to me@example.com")
    try:
        return Address.parse(to).addr
    except AddressError as error:
        raise InputError(f"--to {to!r}: {error.reason}") from None


def _send_one(
    settings: Settings, wish: str | None, shown: Preview, to: str, *, sandbox: bool
) -> tuple[Outcome, str]:
    """What became of it, and where it went: that the safety rails decide."""
    import asyncio

    from mailer.backends import connect, sandboxed
    from mailer.wiring import backends_of, chosen_backend, safety

    config = backends_of(settings, chosen_backend(settings, wish))[0]
    config = sandboxed(config) if sandbox else config
    recipients = safety(settings).envelope((to,))
    if recipients is None:
        raise InputError(f"{to} is not in [safety] allow_recipients, so nothing was sent")
    message = _outgoing(shown, recipients)

    async def yes(_: Outgoing) -> bool:
        return True

    async def send() -> Outcome:
        backend = connect(config)
        try:
            return (await backend.send([message], yes))[0]
        finally:
            await backend.close()

    return asyncio.run(send()), recipients[0]


def _outgoing(shown: Preview, recipients: tuple[str, ...]) -> Outgoing:
    return Outgoing(
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
