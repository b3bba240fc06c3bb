"""``mailer suppressions``: addresses that must not be mailed, in one stream or in any."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from mailer.address import Address, AddressError
from mailer.campaigns.results import private
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Json, Ledger
from mailer.cli.output import count, note, say, say_json, say_table
from mailer.errors import InputError
from mailer.ledger.contract import Suppression
from mailer.ledger.status import iso
from mailer.ledger.suppressions import EVERY_STREAM
from mailer.settings import Settings

COLUMNS = ("address", "stream", "reason", "added_at")

suppressions = typer.Typer(
    no_args_is_help=True,
    help="""Addresses that must not be mailed.

    Hard bounces put them here, and people do. A stream is "bulk", "transactional", or "*" for both. A row
    with such an address ends as "suppressed".

    Example: mailer suppressions add ada@example.com --reason "asked by telephone"
    """,
)

Stream = Annotated[
    str | None,
    typer.Option("--stream", help='"bulk" or "transactional"; default: every stream.'),
]
AddressArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The address.")]


@suppressions.command("list")
def list_suppressions(stream: Stream = None, ledger: Ledger = None, as_json: Json = False) -> None:
    """Show the addresses, oldest first.

    Example: mailer suppressions list --stream bulk
    """
    with open_ledger(Settings.load(ledger=ledger), quiet=True) as rooms:
        found = _of(rooms.suppressions.list(), stream)
    if as_json:
        for one in found:
            say_json(_line(one))
    elif not found:
        say("no address is suppressed")
    else:
        say_table(COLUMNS, [tuple(_line(one).values()) for one in found])


@suppressions.command()
def add(
    email: AddressArgument,
    stream: Stream = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; for whoever asks later.")
    ] = "added by a person",
    ledger: Ledger = None,
) -> None:
    """Never mail this address again.

    Example: mailer suppressions add ada@example.com
    """
    address = _address(email)
    with open_ledger(Settings.load(ledger=ledger)) as rooms:
        rooms.suppressions.add(address, _stream(stream), reason)
    say(f"{address}: suppressed in {_spoken(stream)}")


@suppressions.command()
def remove(email: AddressArgument, stream: Stream = None, ledger: Ledger = None) -> None:
    """Take an address off the list.

    Example: mailer suppressions remove ada@example.com
    """
    address = _address(email)
    with open_ledger(Settings.load(ledger=ledger)) as rooms:
        gone = rooms.suppressions.remove(address, _stream(stream))
        left = [one.stream for one in rooms.suppressions.list() if one.address == address.casefold()]
    if not gone:
        hint = f"It is suppressed in: {', '.join(left)}; give --stream." if left else None
        raise InputError(f"{address} is not suppressed in {_spoken(stream)}", hint=hint)
    still = f"; still in: {', '.join(left)}" if left else ""
    say(f"{address}: no longer suppressed in {_spoken(stream)}{still}")


@suppressions.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with the header `address`; `-`: standard input.")
    ],
    stream: Stream = None,
    ledger: Ledger = None,
) -> None:
    """Add the addresses of a CSV file.

    Columns `stream` and `reason` count where they are there, so what `export` wrote goes in again. An address
    that is there already keeps its first reason.

    Example: mailer suppressions import old-list.csv --stream bulk
    """
    if str(file) == "-":
        entries = list(_read(sys.stdin, "standard input", _stream(stream)))
    else:
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                entries = list(_read(opened, str(file), _stream(stream)))
        except UnicodeDecodeError:
            raise InputError("not UTF-8", str(file)) from None
    with open_ledger(Settings.load(ledger=ledger)) as rooms:
        new = rooms.suppressions.add_many(entries)
    say(f"{count(new, 'address', 'addresses')} added, {len(entries) - new:,} were there already")


@suppressions.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    stream: Stream = None,
    ledger: Ledger = None,
) -> None:
    """Write the addresses as CSV.

    Example: mailer suppressions export -o suppressions.csv
    """
    with open_ledger(Settings.load(ledger=ledger), quiet=True) as rooms:
        found = _of(rooms.suppressions.list(), stream)
    if output is None:
        _write(found, sys.stdout)
        return
    with private(output) as file:
        _write(found, file)
    note(f"{count(len(found), 'address', 'addresses')} in {output}")


def _write(found: list[Suppression], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_line(one).values() for one in found)


def _read(file: IO[str], name: str, stream: str) -> Iterator[tuple[str, str, str]]:
    reader = csv.DictReader(file)
    column = next((c for c in reader.fieldnames or () if c.strip().lower() in {"address", "email"}), None)
    if column is None:
        raise InputError("no column `address` or `email`", name, 1)
    for row in reader:
        try:
            address = Address.parse(row[column] or "").addr
        except AddressError as error:
            raise InputError(error.reason, name, reader.line_num, column) from None
        yield address, row.get("stream") or stream, row.get("reason") or "imported"


def _address(text: str) -> str:
    try:
        return Address.parse(text).addr
    except AddressError as error:
        raise InputError(f"{text!r} is not an address. {error.reason}") from None


def _stream(given: str | None) -> str:
    if given not in (None, EVERY_STREAM, "bulk", "transactional"):
        raise InputError(f"unknown stream {given!r}, expected one of: bulk, transactional")
    return given or EVERY_STREAM


def _spoken(stream: str | None) -> str:
    return "every stream" if _stream(stream) == EVERY_STREAM else f"stream {stream!r}"


def _of(found: list[Suppression], stream: str | None) -> list[Suppression]:
    """Without a stream all; with one, those that hold in it."""
    return [one for one in found if _stream(stream) == EVERY_STREAM or one.stream in (stream, EVERY_STREAM)]


def _line(one: Suppression) -> dict[str, Any]:
    about = {"address": one.address, "stream": one.stream, "reason": one.reason}
    return about | {"added_at": iso(one.added_at)}
