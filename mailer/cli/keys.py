"""``mailer keys``: what applications show to the HTTP API and the SMTP gateway."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailer.campaigns.durations import seconds
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Json, Ledger, parsed
from mailer.cli.output import note, say, say_json, say_table
from mailer.delivery.limits.rates import parse
from mailer.errors import InputError
from mailer.ledger.keys import StoredKey
from mailer.ledger.status import iso
from mailer.outbox import access
from mailer.settings import Settings

COLUMNS = ("id", "name", "scopes", "senders", "rate", "created_at", "expires_at", "used_at", "revoked_at")
_TIMES = ("created_at", "expires_at", "used_at", "revoked_at")

keys = typer.Typer(
    no_args_is_help=True,
    help="""Keys of applications.

    `mailer serve` and `mailer gateway` want one. A key is shown once, when it is made; the ledger keeps only
    a hash of it.

    Example: mailer keys create --name shop --senders "*@acme.example"
    """,
)


@keys.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Who uses it; for whoever reads the list.")] = "",
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it may do, of: send, read, admin.")
    ] = "send,read",
    senders: Annotated[
        str | None,
        typer.Option("--senders", help='From addresses that it may use, such as "*@acme.example"; or any.'),
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help='Messages that it may hand over: "50/s"; or any number.')
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help='How long it is valid: "90d"; or until it is revoked.')
    ] = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it. It cannot be shown again.

    Example: mailer keys create --name shop --scopes send --senders "*@acme.example" --rate 50/s --expires 90d
    """
    limit = str(parse(rate)) if rate else None
    lasts = None if expires is None else parsed("--expires", seconds, expires)
    with open_ledger(Settings.load(ledger=ledger)) as rooms:
        text = access.create(
            rooms, name, scopes=_listed(scopes), senders=_listed(senders or ""), rate=limit, lasts=lasts
        )
    if as_json:
        say_json({"id": text.rpartition("_")[0], "key": text})
        return
    note("Keep it now: it cannot be shown again. It goes into `Authorization: Bearer …`;")
    note("for the gateway, the part before the last `_` is the user and the rest the password.")
    say(text)


@keys.command("list")
def list_keys(ledger: Ledger = None, as_json: Json = False) -> None:
    """Show the keys, oldest first, without their secrets.

    Example: mailer keys list
    """
    with open_ledger(Settings.load(ledger=ledger), quiet=True) as rooms:
        found = [_line(one) for one in rooms.keys.list()]
    if as_json:
        for line in found:
            say_json(line)
    elif not found:
        say("there are no keys; make one: mailer keys create --name shop")
    else:
        say_table(COLUMNS, [[_cell(line[column]) for column in COLUMNS] for line in found])


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")],
    ledger: Ledger = None,
) -> None:
    """Make a key worthless, for good. Servers that run notice within a second.

    Example: mailer keys revoke mk_0123456789ab
    """
    with open_ledger(Settings.load(ledger=ledger)) as rooms:
        if not rooms.keys.revoke(key):
            raise InputError("there is no valid key of this id", hint="`mailer keys list` shows all of them.")
    say(f"{key}: revoked")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _line(one: StoredKey) -> dict[str, Any]:
    times = {name: iso(getattr(one, name)) for name in _TIMES}
    about = {"id": one.id, "name": one.name, "scopes": one.scopes, "senders": one.senders, "rate": one.rate}
    return about | times


def _cell(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else value or "-"
