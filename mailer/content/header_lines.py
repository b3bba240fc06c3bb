"""The header lines of a campaign, each compiled once and written per message only when it varies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.address import Address, AddressError
from mailer.content import headers
from mailer.content.attachments import has_markup
from mailer.content.bodies import Piece
from mailer.content.contract import MailSpec
from mailer.content.rows import Context
from mailer.errors import ContentError

#: Compiles a one-line template under a name that errors show.
Compile = Callable[[str, str], Piece]

#: Written by this room, by the transport or by the receiving side: no campaign may set them.
_OURS = frozenset(
    ["date", "from", "to", "cc", "bcc", "reply-to", "subject", "message-id", "mime-version", "return-path"]
)
#: A campaign has settings for these; a message that comes by itself brings them along as headers.
_SET = frozenset({"list-unsubscribe", "list-unsubscribe-post", "list-id", "auto-submitted"})
_OUR_FAMILIES = ("content-", "resent-", "arc-", "received", "dkim-")
_MAILBOXES = frozenset({"sender", "disposition-notification-to"})
_TOKENS = re.compile(r"in-reply-to|references|list-.*|precedence|feedback-id", re.IGNORECASE)
_URIS = re.compile(
    r"<(?:https?://|mailto:)[^\s<>,]+>(?: *, *<(?:https?://|mailto:)[^\s<>,]+>)*", re.IGNORECASE
)
_URI = re.compile(r"(?:https?://|mailto:)[!-;=?-~]+", re.IGNORECASE)
_LIST_ID = re.compile(r"(?:(?P<name>[^<>]*)<)?(?P<id>[A-Za-z0-9._-]+)>?")


@dataclass(frozen=True, slots=True)
class Line:
    """A template for one line, or the constant it comes to."""

    name: str
    constant: str | None
    piece: Piece | None

    @classmethod
    def compiled(cls, name: str, source: str, compile_line: Compile) -> Line:
        # A file or a TOML text ends in a line feed by nature; that is not data.
        source = re.sub(r"\s*\n\s*", " ", source.strip())
        if has_markup(source):
            return cls(name, None, compile_line(name, source))
        return cls(name, source, None)

    def text(self, context: Context) -> str:
        if self.piece is None:
            return self.constant or ""
        return self.piece.render(context).strip(" ")


def mailbox(name: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise ContentError(f"not an address: {error.reason}", column=name) from None


@dataclass(frozen=True, slots=True)
class Above:
    """What the header lines of a campaign come to in one message; ``lines`` are finished ones."""

    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    lines: bytes


@dataclass(frozen=True, slots=True)
class HeaderLines:
    """Of one campaign, all but Date, To and Message-ID, which are each message's own.

    ``sender`` and ``subject`` may differ per language variant, so they are given per message.
    """

    cc: Sequence[Line]
    bcc: Sequence[Line]
    reply_to: Sequence[Line]
    unsubscribe: Sequence[Line]
    one_click: bool
    fixed: bytes  # List-Id, Auto-Submitted
    custom: Sequence[Line]

    @classmethod
    def compiled(cls, spec: MailSpec, compile_line: Compile) -> HeaderLines:
        """Raises ContentError and TemplateError for what is wrong in every message."""
        try:
            return cls._compiled(spec, compile_line)
        except ContentError as error:
            if not error.column or error.file:
                raise
            # A row's cell is not at fault here, and people would look for such a column.
            raise ContentError(f"header {error.column!r}: {error.message}", hint=error.hint) from None

    @classmethod
    def _compiled(cls, spec: MailSpec, compile_line: Compile) -> HeaderLines:
        def lines(name: str, sources: Sequence[str]) -> tuple[Line, ...]:
            return tuple(Line.compiled(name, source, compile_line) for source in sources)

        custom = tuple(Line.compiled(_free(name), text, compile_line) for name, text in spec.headers.items())
        made = cls(
            cc=lines("Cc", spec.cc),
            bcc=lines("Bcc", spec.bcc),
            reply_to=lines("Reply-To", spec.reply_to),
            unsubscribe=lines("List-Unsubscribe", spec.list_unsubscribe),
            one_click=spec.one_click,
            fixed=_fixed(spec),
            custom=custom,
        )
        made.refuse_what_is_constantly_wrong()
        return made

    def names(self) -> frozenset[str]:
        """Columns that the lines read."""
        return frozenset().union(*(line.piece.names for line in self._lines if line.piece))

    @property
    def constant(self) -> bool:
        """No line reads anything."""
        return all(line.piece is None for line in self._lines)

    @property
    def _lines(self) -> tuple[Line, ...]:
        return (*self.cc, *self.bcc, *self.reply_to, *self.unsubscribe, *self.custom)

    def above(self, context: Context) -> Above:
        """For this row. Raises ContentError."""
        return Above(
            cc=mailboxes(self.cc, context),
            bcc=mailboxes(self.bcc, context),
            reply_to=mailboxes(self.reply_to, context),
            lines=self.list_lines(context) + self.custom_lines(context),
        )

    def refuse_what_is_constantly_wrong(self) -> None:
        """At compile time, with the lines that need no row."""
        for line in (*self.cc, *self.bcc, *self.reply_to):
            if line.constant:
                mailbox(line.name, line.constant)
        for line in self.custom:
            if line.constant:
                _custom(line.name, line.constant)
        if all(line.constant is not None for line in self.unsubscribe):
            self.list_lines({})

    def list_lines(self, context: Context) -> bytes:
        uris = [uri for line in self.unsubscribe if (uri := line.text(context).strip("<>"))]
        for uri in uris:
            if not _URI.fullmatch(uri) or "," in uri:
                raise ContentError("must be https:, http: or mailto: addresses", column="List-Unsubscribe")
        if self.one_click and not any(uri.lower().startswith("https:") for uri in uris):
            raise ContentError("one-click needs an https: address (RFC 8058)", column="List-Unsubscribe")
        if not uris:
            return self.fixed
        line = headers.token("List-Unsubscribe", ", ".join(f"<{uri}>" for uri in uris))
        post = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if self.one_click else b""
        return line + post + self.fixed

    def custom_lines(self, context: Context) -> bytes:
        return b"".join([_custom(line.name, text) for line in self.custom if (text := line.text(context))])


def mailboxes(lines: Sequence[Line], context: Context) -> tuple[Address, ...]:
    """What the lines come to, without those that come to nothing."""
    return tuple([mailbox(line.name, text) for line in lines if (text := line.text(context))])


def custom_line(name: str, value: str) -> bytes:
    """A header of one message, neither the mailer's nor the transport's. Raises ContentError."""
    if name.lower() == "list-unsubscribe" and not _URIS.fullmatch(value.strip()):
        raise ContentError("must be written as <https://…>, <mailto:…>", column=name)
    return _custom(name if name.lower() in _SET else _free(name), value)


def _custom(name: str, value: str) -> bytes:
    if name.lower() in _MAILBOXES:
        return headers.addresses(name, [mailbox(name, value)])
    return headers.token(name, value) if _TOKENS.fullmatch(name) else headers.text(name, value)


def _free(name: str) -> str:
    headers.field_name(name)
    if name.lower() in _OURS | _SET or name.lower().startswith(_OUR_FAMILIES):
        raise ContentError("this header has its own setting or is written by the mailer", column=name)
    return name


def _fixed(spec: MailSpec) -> bytes:
    lines = []
    if spec.list_id:
        found = _LIST_ID.fullmatch(spec.list_id.strip())
        if not found:
            raise ContentError("must look like 'News <news.acme.example>' (RFC 2919)", column="List-Id")
        name = (found["name"] or "").strip().strip('"')
        lines.append(headers.list_id(name, found["id"]))
    if spec.auto_submitted:
        lines.append(headers.token("Auto-Submitted", spec.auto_submitted))
    return b"".join(lines)
