"""Who got it: the input columns plus what became of each row, streamed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from mailer.content.identity import Identities, identities
from mailer.errors import InputError
from mailer.ledger.contract import Campaign, Result, Why, ordinal_of
from mailer.ledger.ledger import Ledger
from mailer.message import State

#: Appended to the input columns; fixed for programs that drive us.
COLUMNS = (
    "mail_state",
    "mail_attempts",
    "mail_code",
    "mail_reply",
    "mail_reason",
    "mail_message_id",
    "mail_backend",
    "mail_at",
    "mail_outcome",
)

#: Beside them for who asks: what the next server calls it. Webhooks of providers know the message by that.
REFERENCE = "mail_reference"

FORMATS = ("csv", "jsonl")
Write = Callable[[Mapping[str, Any]], None]

#: Lines of a piece.
PIECE = 500

#: A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export(
    ledger: Ledger,
    campaign: Campaign,
    out: IO[str] | Path,
    *,
    format: str = "csv",  # noqa: A002 - what the option is called
    states: Collection[str] | None = None,
    formula_guard: bool = True,
    reference: bool = False,
) -> int:
    """Write one line per row, in the order of the input, and return how many.

    A path is written with mode 0600 and appears when it is complete. ``formula_guard`` puts ``'`` before a
    CSV cell that a spreadsheet would run; ``reference`` adds ``REFERENCE``. Raises InputError for a format or
    state that does not exist, and when the file cannot be written.
    """
    _known("format", [format], FORMATS)
    _known("state", states or (), tuple(map(str, State)))
    if isinstance(out, Path):
        with private(out) as file:
            return export(
                ledger,
                campaign,
                file,
                format=format,
                states=states,
                formula_guard=formula_guard,
                reference=reference,
            )
    headers = (*campaign.spec["recipients"]["headers"], *columns(campaign, reference=reference))
    write = _jsonl(out) if format == "jsonl" else _csv(out, headers, formula_guard)
    count = 0
    for line in lines(ledger, campaign, states, reference=reference):
        write(line)
        count += 1
    return count


def pieces(ledger: Ledger, campaign: Campaign) -> Iterator[str]:
    """What ``export`` writes as CSV, a few hundred lines at a time. Raises InputError at once."""
    headers = (*campaign.spec["recipients"]["headers"], *columns(campaign))
    return _pieces(ledger, campaign, headers)


def _pieces(ledger: Ledger, campaign: Campaign, headers: tuple[str, ...]) -> Iterator[str]:
    out = io.StringIO()
    write = _csv(out, headers, formula_guard=True)
    for number, line in enumerate(lines(ledger, campaign), 1):
        write(line)
        if number % PIECE == 0:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def _known(what: str, given: Collection[str], names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            raise InputError(f"unknown {what} {name!r}, expected one of: {', '.join(names)}")


def lines(
    ledger: Ledger, campaign: Campaign, states: Collection[str] | None = None, *, reference: bool = False
) -> Iterator[dict[str, Any]]:
    """One dictionary per row, in input order: its cells as text, then ``columns``. Memory stays flat."""
    known, names = message_ids(campaign), columns(campaign, reference=reference)
    for result in ledger.results.rows(campaign.id):
        if not states or result.state in states:
            cells, message_id = _written(campaign, result, known)
            outcome = _outcome(result, message_id)
            yield cells | {name: outcome[name] for name in names}
    columns(ledger.campaigns.by_id(campaign.id))  # pruned meanwhile, this is not all of it


def columns(campaign: Campaign, *, reference: bool = False) -> tuple[str, ...]:
    """What is appended to the cells: ``COLUMNS``, and the version of a campaign that was updated. Raises
    InputError for one whose recipients are gone."""
    more = (REFERENCE,) if reference else ()
    if campaign.pruned_at is not None:
        raise InputError(f"the recipients of {campaign.slug} were removed by `mailer prune`; counts are kept")
    return (*COLUMNS, *more) if campaign.version == 1 else (*COLUMNS, "mail_version", *more)


#: States in which a row got no mail, or not yet, for a reason that somebody gave.
REFUSED = (State.REJECTED, State.FAILED, State.UNKNOWN, State.DEFERRED)
#: What is quoted in a reason is of one row: a missing file for each row is one reason, not a million.
_QUOTED = re.compile(r"'[^']*'")


def reasons(ledger: Ledger, campaign: Campaign) -> list[Why]:
    """Why rows are in ``REFUSED`` states, the most frequent first; of no single row. Reads all rows."""
    kinds: dict[tuple[Any, ...], Why] = {}
    for one in ledger.results.reasons(campaign.id, REFUSED):
        kind = one if one.rows == 1 else one._replace(reason=_kind(one.reason))
        key = (one.state, one.code, one.enhanced, _kind(one.reason))
        known = kinds.get(key)
        kinds[key] = kind if known is None else known._replace(rows=known.rows + one.rows, reason=key[-1])
    return sorted(kinds.values(), key=lambda one: -one.rows)


def _kind(reason: str | None) -> str | None:
    return reason and _QUOTED.sub("'…'", reason)


def message_ids(campaign: Campaign) -> Identities:
    """The Message-IDs of a campaign, as its messages carry them."""
    mail = campaign.spec["mail"]
    return identities(
        digest=campaign.digest,
        slug=campaign.slug,
        date=campaign.started_at or campaign.created_at,
        sender=mail["sender"],
        return_path=mail.get("envelope_sender"),
    )


def message_id(campaign: Campaign, result: Result) -> str | None:
    """The Message-ID of one row."""
    return _written(campaign, result, message_ids(campaign))[1]


def _written(campaign: Campaign, result: Result, known: Identities) -> tuple[dict[str, Any], str | None]:
    """The cells as they came, and the Message-ID. What an application handed over is not shown in full."""
    cells = json.loads(result.cells)
    if not campaign.spec.get("letters"):
        return cells, known.message_id(ordinal_of(result.id))
    own = {"id": cells.get("id"), "to": result.address, "template": cells.get("template")}
    return own, cells.get("message_id")


def _outcome(result: Result, message_id: str | None) -> dict[str, Any]:
    """Whatever ``columns`` may name."""
    return {
        "mail_state": str(result.state),
        "mail_attempts": result.attempts,
        "mail_code": result.code,
        "mail_reply": result.reply,
        "mail_reason": result.reason or _refused(result.copies),
        "mail_message_id": message_id,
        "mail_backend": result.backend,
        "mail_at": _iso(result.settled_at),
        "mail_outcome": result.outcome,
        "mail_version": result.version,
        REFERENCE: result.reference,
    }


def _refused(copies: str | None) -> str | None:
    """Who of Cc and Bcc did not get his copy, of a message that went."""
    if copies is None:
        return None
    said = (f"{one['recipient']}: {one['code']} {one['reply']}" for one in json.loads(copies))
    return f"copies were refused: {'; '.join(said)}"


def _csv(out: IO[str], headers: tuple[str, ...], formula_guard: bool) -> Write:
    writer = csv.writer(out, lineterminator="\n")
    shown = _guarded if formula_guard else _plain
    writer.writerow([shown(header) for header in headers])

    def write(line: Mapping[str, Any]) -> None:
        writer.writerow([shown(line.get(header)) for header in headers])

    return write


def _jsonl(out: IO[str]) -> Write:
    def write(line: Mapping[str, Any]) -> None:
        out.write(json.dumps(line, ensure_ascii=False) + "\n")

    return write


def _plain(value: Any) -> Any:
    return "" if value is None else value


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else _plain(value)


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


@contextmanager
def private(path: Path) -> Iterator[IO[str]]:
    """A new file with mode 0600 that takes the place of ``path`` once it is complete."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                yield file
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from error
