"""One message as it will go out: of a row of the list, or of the sample data in ``mail.toml``."""

from __future__ import annotations

import base64
import email
import email.policy
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from mailer.address import Address
from mailer.campaigns import recipients
from mailer.campaigns.prepared import Prepared
from mailer.campaigns.recipients import Invalid, Recipient
from mailer.content import compile  # noqa: A004 - what it is called there
from mailer.content.columns import identifier
from mailer.content.contract import Composed, Composer, MailSpec
from mailer.content.identity import identities
from mailer.content.manifest import manifest
from mailer.content.packages import load
from mailer.errors import CampaignError, ContentError, RecipientsError

#: Stand in where a template is looked at without a campaign. RFC 2606 reserves the domain.
SAMPLE_SENDER = "Sender <sender@example.org>"
SAMPLE_RECIPIENT = "recipient@example.org"

_CID = re.compile(r"cid:([^\"')\s>]+)")


@dataclass(frozen=True, slots=True)
class Preview:
    """One rendered message. ``row`` and ``line`` tell where its data came from; None: sample data.

    ``cells`` are that data.
    """

    composed: Composed
    address: str
    row: int | None = None
    line: int | None = None
    cells: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def variables(self) -> dict[str, Any]:
        """The cells under the names that templates call them by."""
        return {identifier(header): value for header, value in self.cells.items()}

    @property
    def eml(self) -> bytes:
        return self.composed.data

    @property
    def message(self) -> EmailMessage:
        """As an independent parser reads it."""
        return email.message_from_bytes(self.eml, policy=email.policy.default)

    @property
    def text(self) -> str | None:
        return _body(self.message, "plain")

    @property
    def html(self) -> str | None:
        """A page for a browser: inline images are in it."""
        message = self.message
        page = _body(message, "html")
        return None if page is None else _CID.sub(lambda found: _image(message, found), page)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])


def of_row(prepared: Prepared, *, row: int | None = None, address: str | None = None) -> Preview:
    """The message of a row, by its number (from 1) or its address; without either the first valid one.

    Raises RecipientsError when there is no such row or it is invalid, ContentError when it cannot become
    a message.
    """
    found = _recipient(prepared, row, address)
    sender = prepared.mail.sender
    identity = identities(digest="preview", slug="preview", date=time.time(), sender=sender).of(found.ordinal)
    composer: Composer = compile(prepared.package, prepared.mail, files_root=prepared.files_root)
    composed = composer.compose(found.cells, found.address.addr, identity)
    return Preview(composed, found.address.addr, found.ordinal, found.line, found.cells)


def of_template(
    template_root: Path, name: str, *, data: Mapping[str, Any] | None = None, files_root: Path | None = None
) -> Preview:
    """A template by itself, with the sample data of its ``mail.toml``; ``data`` wins.

    Raises TemplateError, or CampaignError naming the columns that have no sample.
    """
    package = load(template_root, name)
    about = manifest(package)
    mail = MailSpec(sender=about.sender or SAMPLE_SENDER, subject=about.subject or name)
    cells = {"email": SAMPLE_RECIPIENT, **about.sample, **(data or {})}
    composer = compile(package, mail, files_root=files_root)
    missing = sorted(composer.used() - cells.keys() - {"language"})
    identity = identities(digest="preview", slug=name, date=time.time(), sender=mail.sender).of(1)
    try:
        return Preview(composer.compose(cells, str(cells["email"]), identity), str(cells["email"]))
    except ContentError:
        if missing:
            raise CampaignError(
                f"the template needs data for: {', '.join(missing)}",
                hint="Put a [sample] table with these names into its mail.toml, or preview a campaign.",
            ) from None
        raise


def _recipient(prepared: Prepared, row: int | None, address: str | None) -> Recipient:
    key = None if address is None else Address.parse(address).key
    for entry in recipients.open(prepared.source):
        if isinstance(entry, Invalid):
            if entry.ordinal == row:
                raise RecipientsError(entry.reason, str(prepared.source.path), entry.line, entry.column)
        elif (row is None or entry.ordinal == row) and (key is None or entry.address.key == key):
            return entry
        if row is not None and entry.ordinal >= row:
            break
    wanted = f"row {row}" if row is not None else repr(address) if address else "valid row"
    raise RecipientsError(f"there is no {wanted} in this list", str(prepared.source.path))


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    return None if part is None else str(part.get_content()).replace("\r\n", "\n")


def _image(message: EmailMessage, found: re.Match[str]) -> str:
    for part in message.walk():
        if part["Content-ID"] == f"<{found[1]}>":
            data = base64.b64encode(cast("bytes", part.get_payload(decode=True))).decode("ascii")
            return f"data:{part.get_content_type()};base64,{data}"
    return found[0]
