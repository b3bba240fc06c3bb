"""More rows for a campaign that is open: corrected ones from its file of invalid rows, or new ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mailer.campaigns import preflight, recipients
from mailer.campaigns.earlier import check_has_list
from mailer.campaigns.prepared import Prepared, excluded
from mailer.campaigns.recipients import Chunk, Reader, Recipient, RecipientSource
from mailer.campaigns.report import Report
from mailer.campaigns.spec import CampaignSpec
from mailer.content.manifest import manifest
from mailer.content.snapshot import unpack
from mailer.errors import RecipientsError, StateConflict
from mailer.ledger.contract import Campaign, CampaignState, Result
from mailer.ledger.ledger import Ledger

_CLOSED = {
    CampaignState.OPENING: "is not opened yet: run the same `mailer send` again",
    CampaignState.CANCELLED: "was cancelled: nothing can be added to it",
}

#: Reading this many rows takes as long as looking for one address.
_ROWS_PER_LOOK = 250
_FEW = 20


@dataclass(frozen=True, slots=True)
class Added:
    """``report`` tells what was wrong with the ``invalid`` rows; duplicates are among them."""

    campaign: Campaign
    rows: int
    report: Report

    @property
    def invalid(self) -> int:
        return self.report.invalid

    @property
    def invalid_file(self) -> Path | None:
        return self.report.invalid_file


def add(
    ledger: Ledger,
    campaign: Campaign,
    file: Path,
    *,
    processes: int | None = None,
    on_progress: preflight.Progress | None = None,
) -> Added:
    """Add the rows of ``file`` that the campaign does not have yet; a finished campaign runs again.

    The file needs the campaign's columns, in any order; the first three of a file of invalid rows are
    passed over; its rows that are in now no longer count as invalid. Every row is rendered first, with
    the campaign's own snapshot. Interrupted and run again,
    rows that are in already are duplicates. Raises StateConflict, RecipientsError or TemplateError.
    """
    check_has_list(campaign)
    if campaign.state in _CLOSED:
        raise StateConflict(f"{campaign.slug} {_CLOSED[campaign.state]}")
    if campaign.pruned_at is not None:
        raise StateConflict(f"the recipients of {campaign.slug} were removed by `mailer prune`")
    prepared = reopened(ledger, campaign, file)
    reader = recipients.open(prepared.source)
    corrected = reader.corrected
    _same_columns(reader, campaign, file)
    report = preflight.check(
        prepared,
        processes=processes,
        invalid_file=_still_invalid(file),
        on_progress=on_progress,
        keep_rows=True,
        taken=_taken(ledger, campaign, reader),
    )
    try:
        if report.spool is not None and report.valid:
            ledger.campaigns.add_rows(campaign.id, report.spool)
            campaign = ledger.campaigns.opened(campaign.id, _still_missing(campaign, report, corrected))
    finally:
        report.close()
    return Added(campaign, report.valid, report)


def reopened(ledger: Ledger, campaign: Campaign, file: Path) -> Prepared:
    """The campaign as it was opened, with ``file`` in place of its recipients."""
    package, mail = unpack(campaign.spec["package"], ledger.blobs.get)
    reading: dict[str, Any] = campaign.spec["recipients"]
    spec = CampaignSpec.model_validate(
        {"name": campaign.name, "template": package.root, "recipients": str(file.absolute())}
    )
    source = RecipientSource(
        path=file.absolute(),
        columns=reading["columns"],
        types=reading["types"],
        required=reading["required"],
        unique=tuple(reading["unique"]) or False,
        where=reading["where"],
        exclude=excluded(ledger, reading["exclude"]),
        first_ordinal=ledger.campaigns.max_ordinal(campaign.id) + 1,
    )
    return Prepared(spec, package, mail, manifest(package), source, Path(campaign.spec["files_root"]))


def _still_missing(campaign: Campaign, report: Report, corrected: bool) -> int:
    """What came back corrected is no longer invalid; rows of another file never were."""
    return max(0, campaign.invalid_rows - report.valid) if corrected else campaign.invalid_rows


def _same_columns(reader: Reader, campaign: Campaign, file: Path) -> None:
    wanted, found = set(campaign.spec["recipients"]["headers"]), set(reader.columns.headers)
    if wanted == found:
        return
    differences = [
        f"{what} {', '.join(map(repr, sorted(names)))}"
        for what, names in (("missing:", wanted - found), ("not in the campaign:", found - wanted))
        if names
    ]
    raise RecipientsError("not the columns of this campaign", str(file), hint="; ".join(differences))


def _still_invalid(file: Path) -> Path:
    """Not the file itself: whoever corrected it may want to look at it again."""
    return file.with_name(f"{file.stem.removesuffix('.invalid')}.still-invalid.csv")


def _taken(ledger: Ledger, campaign: Campaign, reader: Reader) -> Iterator[tuple[str, int]]:
    """Keys and lines of the campaign's rows that new ones could repeat."""
    if not reader.unique:
        return
    addresses = _addresses(reader, limit=max(_FEW, campaign.total // _ROWS_PER_LOOK))
    if addresses is None:
        yield from (_key(reader, result) for result in ledger.results.rows(campaign.id))
        return
    for address in addresses:
        for owner, result, _ in ledger.results.find(address):
            if owner.id == campaign.id:
                yield _key(reader, result)


def _addresses(reader: Reader, limit: int) -> list[str] | None:
    """The addresses of the new rows, to look for one by one; None when the campaign has to be read through:
    they are too many, or what makes a row unique is not its address."""
    columns = reader.columns
    if not {"email", columns.headers[columns.email], columns.identifiers[columns.email]} & {*reader.unique}:
        return None
    valid = (entry.address.addr for entry in reader if isinstance(entry, Recipient))
    found = list(islice(valid, limit + 1))
    return found if len(found) <= limit else None


def _key(reader: Reader, result: Result) -> tuple[str, int]:
    cells = json.loads(result.cells)
    row = (0, result.line, [cells[header] for header in reader.columns.headers], None)
    for entry in reader.examiner(Chunk([row])).entries:
        if isinstance(entry, Recipient):
            return entry.key, result.line
    return result.address.casefold(), result.line
