"""A campaign made ready: templates read, recipients at hand, identity known. Nothing is written yet."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from mailer.campaigns import earlier
from mailer.campaigns.recipients import RecipientSource, spool
from mailer.campaigns.recipients.contract import Excluded
from mailer.campaigns.spec import CampaignSpec
from mailer.content.attachments import with_shared
from mailer.content.columns import identifier
from mailer.content.contract import MailSpec, Package
from mailer.content.manifest import Manifest, manifest
from mailer.content.packages import load
from mailer.content.snapshot import digest as content_digest
from mailer.errors import CampaignError, StateConflict
from mailer.ledger import open_ledger
from mailer.ledger.ledger import Ledger

#: Raise it when the same input has to become another identity.
_IDENTITY_VERSION = 1


@dataclass(frozen=True)
class Prepared:
    """What ``check``, ``open_campaign`` and ``preview`` work on. Made by ``prepare``."""

    spec: CampaignSpec
    package: Package  # with the shared attachments
    mail: MailSpec
    about: Manifest
    source: RecipientSource
    files_root: Path

    @property
    def stream(self) -> str:
        return self.mail.stream

    @property
    def on_unknown(self) -> str:
        return self.spec.on_unknown or self.about.on_unknown or "hold"

    @cached_property
    def digest_parts(self) -> dict[str, Any]:
        """What the identity is made of (I6). How fast and through what it is sent is no part of it."""
        source = self.source
        return {
            "version": _IDENTITY_VERSION,
            "name": self.spec.title,
            "content": content_digest(self.package, self.mail),
            "recipients": source.table.identity if source.table else _file_digest(source.path),
            "exclude": [
                _file_digest(one) if isinstance(one, Path) else one.identity for one in source.exclude
            ],
            "read": [source.format, source.delimiter, source.encoding, sorted(source.columns.items())],
            "unique": list(source.unique) if not isinstance(source.unique, bool) else source.unique,
            "where": source.where,
        }

    @cached_property
    def digest(self) -> str:
        """The identity, sha256 in hex. Reads the recipients once. Raises CampaignError when it cannot."""
        return hashlib.sha256(json.dumps(self.digest_parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _stamp(self) -> tuple[int, int, int]:
        if self.source.table is not None:
            return 0, 0, 0
        found = self.source.path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino

    def unchanged(self) -> None:
        """Raises StateConflict when the recipients file has changed since ``prepare`` looked at it."""
        before = self._stamp
        del self.__dict__["_stamp"]
        if self._stamp != before:
            raise StateConflict(
                f"{self.source.path} changed while it was read, and nothing was opened: run the command again"
            )


@contextmanager
def prepare(
    spec: CampaignSpec,
    *,
    template_root: Path,
    files_root: Path | None = None,
    stdin: BinaryIO | None = None,
    ledger_url: str | None = None,
) -> Iterator[Prepared]:
    """Read the template and find the recipients; standard input is spooled to a private file first.

    ``template_root`` is used unless ``templates/`` beside the campaign file holds the template. People of
    earlier campaigns are read from the ledger at ``ledger_url``. Raises CampaignError, TemplateError or
    ContentError.
    """
    root = templates_of(spec, template_root)
    package = load(root, spec.template)
    about = manifest(package)
    mail = mail_spec(spec, about)
    files = (files_root or spec.directory).absolute()
    package = with_shared(package, mail, files)
    with _recipients(spec, stdin) as path, _ledger(spec, ledger_url) as ledger:
        prepared = Prepared(spec, package, mail, about, recipient_source(spec, path, ledger), files)
        prepared._stamp  # noqa: B018 - remembers what the file looks like now
        yield prepared


def templates_of(spec: CampaignSpec, template_root: Path) -> Path:
    """``templates/`` beside the campaign file when it holds the template, else ``template_root``."""
    own = spec.directory / "templates"
    return own if spec.file is not None and (own / spec.template).exists() else template_root


def stream_of(spec: CampaignSpec, template_root: Path) -> str:
    """Before anything else is prepared. Raises TemplateError."""
    return (
        spec.stream
        or mail_spec(spec, manifest(load(templates_of(spec, template_root), spec.template))).stream
    )


def mail_spec(spec: CampaignSpec, about: Manifest) -> MailSpec:
    """What the campaign file and the template's ``mail.toml`` say together; the campaign file wins."""
    return MailSpec(
        sender=spec.sender or about.sender or "",
        subject=spec.subject or None,
        envelope_sender=spec.envelope_sender,
        reply_to=spec.reply_to or ((about.reply_to,) if about.reply_to else ()),
        cc=spec.cc,
        bcc=spec.bcc,
        headers=spec.headers,
        attachments=spec.attachments,
        name_column=identifier(spec.columns.name) if spec.columns.name else None,
        language_column=identifier(spec.columns.language or "language"),
        types={identifier(column): kind for column, kind in spec.types.items()},
        required=tuple(identifier(column) for column in spec.required),
        stream=spec.stream or about.stream or "bulk",
        list_id=spec.list_id,
        list_unsubscribe=spec.list_unsubscribe,
        one_click=spec.one_click,
        auto_submitted=spec.auto_submitted,
        dsn_notify=tuple(condition.upper() for condition in spec.dsn),
        dsn_ret={"full": "FULL", "headers": "HDRS", None: None}[spec.dsn_return],
        locale=spec.locale or about.locale or "en",
        timezone=spec.timezone or about.timezone or "UTC",
    )


def recipient_source(
    spec: CampaignSpec, path: Path, ledger: Ledger | None = None, *, first_ordinal: int = 1
) -> RecipientSource:
    """How the recipients are read."""
    roles = {"email": spec.columns.email, "name": spec.columns.name}
    table = earlier.rows(ledger, spec.recipients) if ledger and spec.follows else None
    if table is not None:
        roles["email"] = roles["email"] or table.campaign.spec["recipients"]["email"]
    return RecipientSource(
        path=path,
        format=spec.format,
        delimiter=spec.delimiter,
        encoding=spec.encoding,
        columns={role: header for role, header in roles.items() if header},
        types=spec.types,
        required=spec.required,
        unique=spec.unique or False,
        where=spec.where,
        exclude=excluded(ledger, spec.exclude),
        first_ordinal=first_ordinal,
        table=table,
    )


def excluded(ledger: Ledger | None, names: Sequence[str]) -> tuple[Path | Excluded, ...]:
    """Files, and people of earlier campaigns."""
    return tuple(
        earlier.left_out(ledger, name) if ledger and name.startswith(earlier.PREFIX) else Path(name)
        for name in names
    )


@contextmanager
def _ledger(spec: CampaignSpec, url: str | None) -> Iterator[Ledger | None]:
    if url is None or not any(name.startswith(earlier.PREFIX) for name in (spec.recipients, *spec.exclude)):
        yield None
        return
    with closing(open_ledger(url)) as ledger:
        yield ledger


@contextmanager
def _recipients(spec: CampaignSpec, stdin: BinaryIO | None) -> Iterator[Path]:
    if spec.follows:
        yield Path(spec.recipients)
        return
    if not spec.reads_stdin:
        path = Path(spec.recipients)
        if not path.is_file():
            raise CampaignError(f"there is no recipients file {path}", str(spec.file) if spec.file else None)
        yield path
        return
    path = spool(stdin or sys.stdin.buffer, Path(tempfile.gettempdir()))
    try:
        yield path
    finally:
        path.unlink()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CampaignError(error.strerror or "cannot be read", str(path)) from None
