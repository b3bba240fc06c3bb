"""What one campaign sends, to whom, and how: every key of ``campaign.toml``, and the same as options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mailer.campaigns.fieldtypes import (
    Addresses,
    BackendName,
    Budget,
    Headers,
    LocaleName,
    MailAddress,
    Moment,
    OneLine,
    Rates,
    Reports,
    Schedule,
    Seconds,
    Strings,
    Texts,
    Types,
    Unique,
    ZoneName,
    table,
)

#: ``recipients`` for standard input.
STDIN = "-"


class Columns(BaseModel):
    """``[columns]``: which column of the list is which, by its header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: str | None = None
    name: str | None = None
    language: str | None = None


class CampaignSpec(BaseModel):
    """One campaign as its file and the options describe it; immutable, all paths absolute.

    ``file`` is the campaign file, None when there is none; ``directory`` is where it lies, else the
    working directory. ``sandbox``: it goes to the provider's test mode, and is another campaign then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: OneLine = Field(
        "", max_length=200, description="what people call this campaign; default: the template's name"
    )
    sender: MailAddress | None = Field(
        None, alias="from", description="`From:`, as in `Acme News <news@acme.example>`; a template"
    )
    subject: OneLine | None = Field(
        None, description="a template over the row, as are all texts called so below"
    )
    template: OneLine = Field(
        min_length=1, description="folder below `templates/`, or one `.html` or `.txt` file there"
    )
    recipients: str = Field(
        min_length=1,
        description="CSV, TSV, JSON Lines or `.xlsx` file; `-` is standard input; "
        "`campaign:ID?state=accepted` are people of an earlier campaign",
    )

    columns: Annotated[Columns, BeforeValidator(table)] = Field(
        default_factory=Columns,
        description='which header is which: `email = "E-mail address"`, `name` (for `To: Name <address>`), '
        "`language` (chooses `body.de.html`)",
    )
    types: Types = Field(
        default_factory=dict,
        description='what cells hold: `zip = "text"`, `amount = "decimal"`, `due = "date:%d.%m.%Y"`; '
        "text unless declared",
    )
    required: Texts = Field((), description="columns in which an empty cell makes the row invalid")
    unique: Unique = Field(
        ("email",),
        description="what tells recipients apart, the first one wins; `false`: every row is sent",
    )
    where: str | None = Field(None, description="send to a part of the list: `plan == 'pro'`")
    exclude: Strings = Field(
        (),
        description="who gets nothing: files with addresses, or `campaign:ID`, `campaign:ID?state=accepted`",
    )
    format: Literal["csv", "tsv", "txt", "jsonl", "ndjson", "xlsx"] | None = Field(
        None, description="of the recipients file; default: by its name, else by its content"
    )
    encoding: str | None = Field(None, description="of the recipients file; default: found out")
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="between the cells of the recipients file; default: found out",
    )

    backend: BackendName | None = Field(
        None, description="a name from mailer.toml, of a backend or a route, or a URL without a password"
    )
    rate: Rates = Field(
        (), description='limits of this campaign, all must allow: `"50/s"` or `["50/s", "20000/d"]`'
    )
    stream: Literal["bulk", "transactional"] | None = Field(
        None,
        description="`bulk` (default) or `transactional`: which queue, which retries, which suppressions",
    )
    priority: int = Field(0, ge=-100, le=100, description="campaigns with a higher one get their turn first")
    recipients_per_task: int | None = Field(
        None, ge=1, le=10_000, description="recipients per hint and Celery task; default: the settings'"
    )
    on_unknown: Literal["hold", "retry"] | None = Field(
        None,
        description="rows sent and never answered: `hold` them (default) or `retry` (may arrive twice)",
    )
    retry_budget: Budget | None = Field(
        None, description='how long a refused message is tried again: `"24h"`, at most `"72h"`'
    )
    retry_schedule: Schedule = Field(
        (),
        description='longest wait after each try: `["2m", "10m", "1h"]`; the last one repeats',
    )
    expires_in: Seconds | None = Field(
        None, description='what is not sent this long after the start never is: `"2d"`'
    )

    reply_to: Addresses = Field((), description="`Reply-To:`; templates")
    cc: Addresses = Field(
        (), description="copies that everybody sees; templates, an empty result is left out"
    )
    bcc: Addresses = Field((), description="copies that nobody sees; templates, an empty result is left out")
    headers: Headers = Field(
        default_factory=dict,
        description='further header fields: `X-Campaign = "november"`; the values are templates',
    )
    attachments: Texts = Field(
        (),
        description='files below the `files` folder of the settings: `"terms.pdf"`, '
        '`"invoices/{{ invoice_no }}.pdf"`',
    )
    list_unsubscribe: Texts = Field(
        (), description="`List-Unsubscribe:` URIs, `https:` or `mailto:`; templates"
    )
    one_click: bool = Field(
        False, description="add `List-Unsubscribe-Post` (RFC 8058); needs an `https:` URI"
    )
    list_id: OneLine | None = Field(None, description="`List-Id:`, such as `news.acme.example`")
    auto_submitted: OneLine | None = Field(
        None, description="`Auto-Submitted:` (RFC 3834), such as `auto-generated`"
    )
    envelope_sender: MailAddress | None = Field(
        None, description="return path, where bounces go; default: the address of `from`; a template"
    )
    dsn: Reports = Field(
        (), description="ask for delivery reports (RFC 3461): `never`, or of `success`, `failure`, `delay`"
    )
    dsn_return: Literal["full", "headers"] | None = Field(
        None, description="how much of the message a delivery report brings back"
    )
    locale: LocaleName | None = Field(
        None, description="how dates, numbers and money are written: `de`, `pt_BR`; default `en`"
    )
    timezone: ZoneName | None = Field(
        None, description="of times in the templates: `Europe/Berlin`; default `UTC`"
    )
    start_at: Moment | None = Field(
        None,
        description="when sending begins: `2026-12-01T09:00+01:00`, or `2026-12-01 09:00 Europe/Berlin`; "
        "default: at once",
    )

    directory: Path = Field(Path(), exclude=True, repr=False)
    file: Path | None = Field(None, exclude=True, repr=False)
    sandbox: bool = Field(False, exclude=True, repr=False)

    @property
    def title(self) -> str:
        """The name, or what stands in for it."""
        name = self.name or Path(self.template).stem
        return f"{name} (sandbox)" if self.sandbox else name

    @property
    def follows(self) -> bool:
        """Its recipients are people of an earlier campaign."""
        return self.recipients.startswith("campaign:")

    @property
    def reads_stdin(self) -> bool:
        return self.recipients == STDIN


#: An option that is not simply the key with dashes.
_FLAGS = {
    "recipients": ("--to", "--recipients"),
    "columns": ("--column",),
    "types": ("--type",),
    "headers": ("--header",),
    "attachments": ("--attach", "--attachments"),
    "start_at": ("--at",),
}
_TABLES = frozenset({"columns", "types", "headers"})


class Option(NamedTuple):
    """One key of the file as an option.

    ``many``: it may be given more than once. ``table``: each time as KEY=VALUE.
    """

    key: str
    flags: tuple[str, ...]
    help: str
    many: bool = False
    table: bool = False


def _option(key: str, description: str, many: bool) -> Option:
    flags = _FLAGS.get(key, (f"--{key.replace('_', '-')}",))
    return Option(key, flags, description.replace("`", ""), many, key in _TABLES)


#: Every key of the file, in the order of the file.
OPTIONS = tuple(
    _option(info.alias or field, info.description or "", field in _TABLES or "tuple" in str(info.annotation))
    for field, info in CampaignSpec.model_fields.items()
    if not info.exclude
)
#: Their names.
KEYS = tuple(option.key for option in OPTIONS)
