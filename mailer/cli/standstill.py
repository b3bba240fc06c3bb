"""``mailer backends``: which there are, which of them a person has stopped, and which are out of order."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mailer.campaigns.times import shown
from mailer.cli import circuits
from mailer.cli.ledgers import open_ledger, workers_told
from mailer.cli.options import Json, Ledger
from mailer.cli.output import count, say, say_json, say_table
from mailer.ledger.contract import CampaignState
from mailer.ledger.ledger import Ledger as LedgerRooms
from mailer.settings import Settings
from mailer.wiring import backend_name, routes

#: Campaigns in these states still want their backend.
_ALIVE = (CampaignState.RUNNING, CampaignState.SCHEDULED, CampaignState.PAUSED)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A backend of mailer.toml, or a URL.")]

backends = typer.Typer(
    no_args_is_help=True,
    help="""List backends; stop and start using them.

    A backend that is paused is used by no process from within a second; its campaigns wait, and that time
    does not count against their retries.

    Example: mailer backends pause main --reason "the provider asked us to stop"
    """,
)


@backends.command("list")
def list_backends(ledger: Ledger = None, as_json: Json = False) -> None:
    """Show every backend, whether it works, and what uses it.

    A circuit is open while the workers leave a backend alone because it is out of order, and half-open
    until one message has shown whether it works again.

    Example: mailer backends list
    """
    settings = Settings.load(ledger=ledger)
    with open_ledger(settings, quiet=True) as rooms:
        told = _told(rooms, settings)
    if as_json:
        for one in told:
            say_json(one)
    elif not told:
        say("no backends; write [backends.main] with a url into mailer.toml")
    else:
        rows = [
            (
                one["name"],
                f"paused since {shown(one['paused_since'])}" if one["paused"] else "in use",
                circuits.words(one),
                one["campaigns"],
                "; ".join(filter(None, (one["reason"], one["circuit_reason"]))),
            )
            for one in told
        ]
        say_table(("backend", "state", "circuit", "campaigns", "reason"), rows)


@backends.command()
def pause(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown to others.")] = "paused by a person",
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Stop using a backend; its campaigns wait.

    What is on the wire finishes.

    Example: mailer backends pause main
    """
    settings = Settings.load(ledger=ledger)
    wanted = backend_name(settings, name)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        rooms.backends.pause(wanted, reason)
        tell(None)
        _answer(rooms, settings, wanted, as_json=as_json)


@backends.command()
def resume(name: Name, ledger: Ledger = None, as_json: Json = False) -> None:
    """Use a backend again.

    Example: mailer backends resume main
    """
    settings = Settings.load(ledger=ledger)
    wanted = backend_name(settings, name)
    with open_ledger(settings) as rooms, workers_told(settings) as tell:
        rooms.backends.resume(wanted)
        tell(None)
        _answer(rooms, settings, wanted, as_json=as_json)


def _answer(rooms: LedgerRooms, settings: Settings, name: str, *, as_json: bool) -> None:
    (one,) = (one for one in _told(rooms, settings, name) if one["name"] == name)
    if as_json:
        say_json(one)
        return
    what = "paused" if one["paused"] else "in use"
    say(f"{name}: {what}; {count(one['campaigns'], 'campaign')} with it")


def _told(rooms: LedgerRooms, settings: Settings, *also: str) -> list[dict[str, Any]]:
    """Those of the settings, those that campaigns use, and those that are paused."""
    paused = {one.name: one for one in rooms.backends.list()}
    users = [campaign.backend for campaign in rooms.campaigns.in_states(_ALIVE)]
    # A campaign over a route is one with each of its backends.
    ways = {name: way.backends for name, way in routes(settings).items()}
    names = dict.fromkeys([*settings.backends, *users, *paused, *also])
    known = circuits.read(settings, rooms)
    return [
        {
            "name": name,
            "paused": name in paused,
            "paused_since": paused[name].since if name in paused else None,
            "reason": paused[name].reason if name in paused else None,
            **known.of(name, route=name in ways),
            "campaigns": sum(name == used or name in ways.get(used, ()) for used in users),
        }
        for name in names
    ]
