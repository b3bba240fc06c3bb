"""From a template and a row to bytes: the words of this room.

A ``Package`` is the snapshot of a template folder with everything it includes. A ``MailSpec`` says what
one campaign or one transactional template makes of it. Both are plain data, stored in the ledger, so a
worker on another machine compiles the same ``Composer``.

What is sent is a function of the row (I7): Message-ID, Date, boundaries and the template's clock come
from the ``Identity`` of the row and are the same on every attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from mailer.message import Draft


@dataclass(frozen=True, slots=True)
class MailSpec:
    """What to make of a package. Strings marked T are Jinja templates over the row."""

    sender: str  # From: T, "Acme News <news@acme.example>"
    subject: str | None = None  # T; None: the package's mail.toml must have one
    envelope_sender: str | None = None  # return path; default: the address of ``sender``
    reply_to: Sequence[str] = ()  # T
    cc: Sequence[str] = ()  # T; an empty result is left out
    bcc: Sequence[str] = ()  # T; never a header
    headers: Mapping[str, str] = field(default_factory=dict)  # values T
    attachments: Sequence[str] = ()  # T; paths below the files root; without markup it is shared
    name_column: str | None = None  # identifier of the column for To: Name <address>
    language_column: str | None = "language"
    types: Mapping[str, str] = field(default_factory=dict)  # identifier -> text, integer, decimal, date, ...
    required: Sequence[str] = ()  # identifiers that may not be empty
    stream: str = "bulk"
    list_id: str | None = None
    list_unsubscribe: Sequence[str] = ()  # T; https: and mailto: URIs
    one_click: bool = False  # add List-Unsubscribe-Post, RFC 8058
    auto_submitted: str | None = None  # RFC 3834
    dsn_notify: Sequence[str] = ()  # RFC 3461
    dsn_ret: str | None = None
    locale: str = "en"
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Package:
    """A template folder as a snapshot: file name below the template root -> content.

    ``root`` names the folder of this mail below the template root ("newsletter"); layouts and includes
    of other folders are in ``files`` too. ``shared`` holds shared attachments by the path that names them.
    """

    root: str
    files: Mapping[str, bytes]
    shared: Mapping[str, bytes] = field(default_factory=dict)


class Identity(NamedTuple):
    """What makes one message itself, fixed per (campaign, row). A tuple: one is made for each look at it."""

    message_id: str  # with angle brackets
    date: float  # seconds since the epoch: Date header and the template's now()
    seed: str  # for MIME boundaries and Content-IDs


@dataclass(frozen=True, slots=True)
class RowFile:
    """A per-recipient attachment as recorded at opening; a mismatch when it is read is a ContentError."""

    path: str
    size: int
    sha256: str


@dataclass(slots=True)
class Composed:
    """One rendered message; see Outgoing for the rules its bytes follow."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes | Draft
    eight_bit: bool = False
    smtputf8: bool = False
    author: str = ""  # the address of From, which need not be the envelope's

    @property
    def data(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.data


class Composer(Protocol):
    """Compiled once per campaign and worker; ``compose`` is pure apart from reading attachments.

    Raises ContentError when this row cannot become a message, and nothing else for any row.
    """

    def compose(
        self, cells: Mapping[str, Any], to: str, identity: Identity, files: Sequence[RowFile] = ()
    ) -> Composed: ...

    def used(self) -> frozenset[str]:
        """Identifiers of the columns that the templates read, as far as can be told without running them."""
        ...
