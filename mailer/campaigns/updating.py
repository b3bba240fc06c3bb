"""A paused campaign gets another template or subject, for those who have not been sent it yet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mailer.campaigns import preflight
from mailer.campaigns.earlier import check_has_list, remaining
from mailer.campaigns.loading import from_options, load
from mailer.campaigns.opening import identity
from mailer.campaigns.prepared import Prepared, mail_spec, recipient_source, templates_of
from mailer.campaigns.recipients import RecipientSource
from mailer.campaigns.report import Report
from mailer.campaigns.spec import CampaignSpec
from mailer.content.attachments import has_markup, with_shared
from mailer.content.contract import MailSpec, Package
from mailer.content.identity import sending_domain
from mailer.content.manifest import manifest
from mailer.content.packages import load as load_package
from mailer.content.snapshot import pack, unpack
from mailer.errors import CampaignError, MailerError, StateConflict
from mailer.ledger.contract import Campaign, CampaignState
from mailer.ledger.ledger import Ledger
from mailer.message import WAITING


@dataclass(frozen=True, slots=True)
class Correction:
    """``rows`` will get version ``campaign.version``; ``report`` is that of their check."""

    campaign: Campaign
    rows: int
    report: Report


def update(
    ledger: Ledger,
    campaign: Campaign,
    *,
    template_root: Path,
    file: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    on_progress: preflight.Progress | None = None,
) -> Correction:
    """Read file and template anew, prove every row that waits, and store the new version.

    ``file`` is the campaign file, by default the one it was opened from; ``changes`` (``subject``,
    ``template``) win over it. Recipients, sender's domain and limits stay. Nothing changes when a single
    row fails. Raises StateConflict unless it is paused and nothing is in flight, and CampaignError or
    TemplateError.
    """
    check_has_list(campaign)
    if campaign.state is not CampaignState.PAUSED:
        raise StateConflict(
            f"cannot update {campaign.slug}: it is {campaign.state};"
            f" first: mailer pause {campaign.slug} --wait"
        )
    new = _corrected(ledger, campaign, template_root, file, changes or {})
    report = _checked(ledger, new.prepared, campaign, on_progress)
    if report.invalid:
        raise CampaignError(
            f"nothing was changed: {report.invalid} of the rows that wait cannot be sent so",
            str(report.invalid_file),
            hint="; ".join(report.reasons),
        )
    snapshot, blobs = pack(new.prepared.package, new.prepared.mail)
    content = {"mail": snapshot["spec"], "package": snapshot, "content_digest": new.digest}
    ledger.campaigns.correct(campaign.id, content, blobs)
    return Correction(ledger.campaigns.by_id(campaign.id), report.valid, report)


def _checked(
    ledger: Ledger, prepared: Prepared, campaign: Campaign, on_progress: preflight.Progress | None
) -> Report:
    states = ledger.campaigns.counts(campaign.id).states
    if not any(states[state] for state in WAITING):
        return Report()
    faulty = prepared.spec.directory / f"{campaign.slug}.not-updated.csv"
    return preflight.check(prepared, invalid_file=faulty, on_progress=on_progress)


@dataclass(frozen=True, slots=True)
class _Corrected:
    prepared: Prepared
    digest: str | None  # what `send` would make of the campaign file now


def _corrected(
    ledger: Ledger, campaign: Campaign, template_root: Path, file: Path | None, changes: Mapping[str, Any]
) -> _Corrected:
    old_package, old = unpack(campaign.spec["package"], ledger.blobs.get)
    spec = _spec(campaign, old_package, old, file, changes)
    package = load_package(templates_of(spec, template_root), spec.template)
    about = manifest(package)
    mail = mail_spec(spec, about) if spec.file else replace(old, subject=changes.get("subject", old.subject))
    _same_where_it_must_be(old, mail)
    files = Path(campaign.spec["files_root"])
    package = with_shared(package, mail, files)
    prepared = Prepared(spec, package, mail, about, _source(ledger, campaign), files)
    return _Corrected(prepared, _digest(ledger, campaign, prepared))


def _spec(
    campaign: Campaign, package: Package, mail: MailSpec, file: Path | None, changes: Mapping[str, Any]
) -> CampaignSpec:
    stored = campaign.spec["file"]
    if file is None and stored is not None and Path(stored).is_file():
        file = Path(stored)
    if file is not None:
        return load(file, changes).model_copy(update={"sandbox": campaign.spec.get("sandbox", False)})
    known = {"name": campaign.name, "template": package.root, "from": mail.sender, "subject": mail.subject}
    return from_options({**known, "recipients": campaign.spec["recipients"]["path"], **changes})


def _same_where_it_must_be(old: MailSpec, new: MailSpec) -> None:
    """Message-IDs hold the sender's domain, suppressions the stream, and rows their own files."""
    if sending_domain(old.sender, old.envelope_sender) != sending_domain(new.sender, new.envelope_sender):
        raise CampaignError(f"the sender's domain cannot change under way: it was {old.sender}")
    if old.stream != new.stream:
        raise CampaignError(f"the stream cannot change under way: it was {old.stream!r}")
    own_files = [[name for name in mail.attachments if has_markup(name)] for mail in (old, new)]
    if own_files[0] != own_files[1]:
        raise CampaignError("attachments per recipient were recorded at the opening and cannot change")


def _source(ledger: Ledger, campaign: Campaign) -> RecipientSource:
    reading = campaign.spec["recipients"]
    return RecipientSource(
        path=Path(campaign.slug),
        columns={**reading["columns"], "email": reading["email"]},
        types=reading["types"],
        required=reading["required"],
        unique=False,
        table=remaining(ledger, campaign),
    )


def _digest(ledger: Ledger, campaign: Campaign, prepared: Prepared) -> str | None:
    """By it the same `send` finds this campaign, and does not open it a second time for everybody."""
    spec = prepared.spec
    if spec.reads_stdin:
        return None
    with suppress(MailerError):  # its list is gone, so it cannot be sent again either
        as_sent = replace(prepared, source=recipient_source(spec, Path(spec.recipients), ledger))
        return identity(as_sent.digest, campaign.spec["run"])
    return None
