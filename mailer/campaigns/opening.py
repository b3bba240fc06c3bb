"""Opening a campaign: idempotent, whatever was sent or killed before (I6).

The identity of a campaign is the digest of what it says and to whom. A deliberate second run (``again``)
gets the next identity of a chain, so that it too can be interrupted and found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailer.campaigns import recipients
from mailer.campaigns.prepared import Prepared
from mailer.campaigns.recipients import Invalid
from mailer.campaigns.report import Report
from mailer.campaigns.slugs import slug
from mailer.content.attachments import has_markup
from mailer.content.snapshot import pack
from mailer.errors import CampaignError, StateConflict
from mailer.ledger.contract import Campaign, CampaignState, NewCampaign, NewRow, Runner
from mailer.ledger.ledger import Ledger

_OVER = frozenset({CampaignState.FINISHED, CampaignState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Match:
    """Which identity a ``send`` means. ``campaign`` is the one to go on with; None: it has to be opened."""

    digest: str
    run: int  # 0, and one more for each deliberate repetition
    campaign: Campaign | None = None

    @property
    def complete(self) -> bool:
        """Every row is in the ledger, so nothing has to be checked or opened again."""
        return self.campaign is not None and self.campaign.state is not CampaignState.OPENING


def match(ledger: Ledger, prepared: Prepared, *, again: bool = False) -> Match:
    """Look for an earlier ``send`` of the same campaign; an unfinished one is gone on with, even ``again``.

    Raises StateConflict when the latest one is over and ``again`` was not said.
    """
    last: Campaign | None = None
    for run in range(1 << 16):
        digest = identity(prepared.digest, run)
        found = ledger.campaigns.by_digest(digest) or _updated_to(ledger, digest)
        if not found:
            if last is not None and not again:
                raise StateConflict(_already(last))
            return Match(digest, run)
        last = found[-1]
        if last.state not in _OVER:
            return Match(digest, run, last)
    raise StateConflict("this campaign was repeated too often")


def open_campaign(
    ledger: Ledger,
    prepared: Prepared,
    report: Report | None = None,
    *,
    again: bool = False,
    backend: str = "",
    runner: Runner = Runner.EMBEDDED,
    start_at: float | None = None,
    recipients_per_task: int = 200,
    knows_keys: Mapping[str, Any] | None = None,
) -> Campaign:
    """The campaign with every row in the ledger, running (or scheduled): opened now, or found.

    Rows come from the report's spool when it has one, else from the list, unproved. ``backend`` is what the
    settings make of the campaign's; it must hold no secret. ``knows_keys`` is what the wiring says about it:
    what was sent and not answered may then be sent again under the same key. Raises StateConflict as
    ``match`` does, and CampaignError when there is nobody to send to.
    """
    found = match(ledger, prepared, again=again)
    if found.complete and found.campaign is not None:
        return found.campaign
    if report is not None and not report.valid:
        raise CampaignError(_nobody(report))
    if found.campaign is not None:  # an earlier call was killed half-way
        return _filled(ledger, found.campaign, prepared, report)
    spec, blobs = _spec(prepared, found, backend, recipients_per_task)
    new = NewCampaign(
        slug=_free_slug(ledger, prepared.spec.title, found.digest),
        name=prepared.spec.title,
        digest=found.digest,
        spec=spec | {"knows_keys": knows_keys},
        runner=runner,
        stream=prepared.stream,
        backend=backend,
        priority=prepared.spec.priority,
        start_at=start_at,
    )
    return _filled(ledger, ledger.campaigns.create(new, blobs), prepared, report)


def _filled(ledger: Ledger, campaign: Campaign, prepared: Prepared, report: Report | None) -> Campaign:
    if report is not None and report.spool is not None:
        ledger.campaigns.add_rows(campaign.id, report.spool)
        return ledger.campaigns.opened(campaign.id, report.invalid)
    rows = _Rows(prepared)
    ledger.campaigns.add_rows(campaign.id, rows)
    prepared.unchanged()
    return ledger.campaigns.opened(campaign.id, rows.invalid)


def _spec(
    prepared: Prepared, found: Match, backend: str, recipients_per_task: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the engine, the pump and later commands need to know; and the files that it names."""
    spec = prepared.spec
    snapshot, blobs = pack(prepared.package, prepared.mail)
    retry: dict[str, Any] = {}
    if spec.retry_budget is not None:
        retry["budget_seconds"] = spec.retry_budget
    if spec.retry_schedule:
        retry["ceilings"] = list(spec.retry_schedule)
    stored = {
        "mail": snapshot["spec"],
        "package": snapshot,
        "backend": backend,
        "rates": list(spec.rate),
        "retry": retry,
        "on_unknown": prepared.on_unknown,
        "files_root": str(prepared.files_root),
        "recipients_per_task": spec.recipients_per_task or recipients_per_task,
        "expires_in": spec.expires_in,
        "recipients": _reading(prepared),
        "file": str(spec.file.resolve()) if spec.file else None,
        "run": found.run,
        "sandbox": spec.sandbox,
        "digest_parts": prepared.digest_parts,
    }
    return stored, blobs


def _reading(prepared: Prepared) -> dict[str, Any]:
    """How the list was read: what ``add`` and ``results`` need."""
    source = prepared.source
    columns = recipients.open(source).columns
    return {
        "path": prepared.spec.recipients,
        "headers": list(columns.headers),
        "email": columns.headers[columns.email],
        "columns": dict(source.columns),
        "types": dict(source.types),
        "required": list(source.required),
        "unique": list(prepared.spec.unique),
        "where": source.where,
        "exclude": [str(path) for path in source.exclude],
    }


class _Rows:
    """The valid rows of the list, not rendered; counts the others."""

    def __init__(self, prepared: Prepared) -> None:
        if any(map(has_markup, prepared.mail.attachments)):
            raise CampaignError("attachments per recipient are recorded by the check, which was left out")
        self._source = prepared.source
        self.invalid = 0

    def __iter__(self) -> Iterator[NewRow]:
        self.invalid = 0
        for entry in recipients.open(self._source):
            if isinstance(entry, Invalid):
                self.invalid += 1
                continue
            cells = json.dumps(entry.cells, ensure_ascii=False)
            yield NewRow(entry.ordinal, entry.line, entry.address.addr, entry.address.lane, cells)


def _updated_to(ledger: Ledger, digest: str) -> list[Campaign]:
    """Campaigns that were opened with other content, and have had this one since."""
    return [one for one in ledger.campaigns.list() if one.spec.get("content_digest") == digest]


def identity(digest: str, run: int) -> str:
    """Of the first sending (run 0), or of a deliberate repetition."""
    return digest if run == 0 else hashlib.sha256(f"{digest} again {run}".encode()).hexdigest()


def _free_slug(ledger: Ledger, name: str, digest: str) -> str:
    taken = {campaign.slug for campaign in ledger.campaigns.list()}
    candidates: Iterable[str] = (slug(name, digest, digits) for digits in range(4, len(digest) + 1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _already(campaign: Campaign) -> str:
    at = campaign.finished_at or campaign.started_at or campaign.created_at
    when = datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")
    what = "sent" if campaign.state is CampaignState.FINISHED else "cancelled"
    return (
        f"{campaign.name!r} was already {what} on {when} as {campaign.slug}, with the same recipients and "
        "templates; use --again to send it to everybody once more"
    )


def _nobody(report: Report) -> str:
    """Where all of them are."""
    tally = report.tally
    reasons = (
        (report.invalid, f"are in {report.invalid_file}"),
        (tally.filtered, "do not match `where`"),
        (tally.excluded, "are on an exclude list"),
    )
    return f"no row can be sent; {', '.join(f'{number} {why}' for number, why in reasons if number)}"
