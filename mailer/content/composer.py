"""Compiles a mail once and composes one message per row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mailer.address import UNSAFE, Address
from mailer.content import headers, mime, plaintext
from mailer.content.assembly import NOTHING, Head, Own, assembled, head_lines
from mailer.content.attachments import contents, has_markup, record, verified, with_shared
from mailer.content.bodies import Bodies, Body, Piece
from mailer.content.columns import identifier
from mailer.content.contract import Composed, Identity, MailSpec, Package, RowFile
from mailer.content.dryrun import DryRun, names_written
from mailer.content.header_lines import Above, HeaderLines, Line, mailbox
from mailer.content.language import Language
from mailer.content.manifest import Manifest, manifest
from mailer.content.rows import Context, Rows
from mailer.content.typecheck import simple
from mailer.errors import ContentError, TemplateError


@dataclass(frozen=True, slots=True)
class Variant:
    """One language: its bodies and its wording."""

    body: Body
    parts: mime.Parts
    subject: Line
    sender: Line
    sender_line: bytes | None  # when the sender is the same for all rows
    sender_address: Address | None
    dry: DryRun | None = None  # of its bodies, where that proves as much as composing
    subject_names: frozenset[str] | None = None  # all that its subject is made of

    def titles(self, context: Context, own: Own) -> bool:
        """True: the subject can be written. False: perhaps not."""
        if own.subject is not None:
            return headers.surely_text(own.subject)
        names = self.subject_names
        if names is None:
            return headers.surely_text(self.subject.text(context))
        values = [context.get(name) for name in names]
        if None in values or not simple(values):  # it is missing; or nobody knows how it is written
            return False
        return all(headers.surely_text(value) for value in values if type(value) is str)


def compile_mail(package: Package, spec: MailSpec, *, files_root: Path | None = None) -> MailComposer:
    """Everything that can be decided before a row is seen. Raises TemplateError or ContentError.

    ``files_root`` is where per-recipient attachments lie; shared ones that the package does not hold yet
    are read from there too.
    """
    about = manifest(package)
    if files_root is not None:
        package = with_shared(package, spec, files_root)
    return MailComposer(package, spec, about, files_root=files_root)


class MailComposer:
    """The Composer of the contract. Not for several threads at once."""

    def __init__(self, package: Package, spec: MailSpec, about: Manifest, *, files_root: Path | None) -> None:
        language = Language.of(spec, about)
        self._spec = spec
        self._files_root = files_root
        self._return_path = None if spec.envelope_sender is None else _return_path(spec.envelope_sender)
        bodies = Bodies(package, language.filters())
        self._header_lines = HeaderLines.compiled(spec, bodies.line)
        self._row_files = [
            Line.compiled("attachments", path, bodies.line) for path in spec.attachments if has_markup(path)
        ]
        shared = [
            mime.attachment(path, _shared(package, path)) for path in spec.attachments if not has_markup(path)
        ]
        self.variants: dict[str, Variant] = {}
        for tag in bodies.languages():
            own = bodies if not tag else Bodies(package, language.filters(tag))
            self.variants[tag] = self._variant(own, tag, about, shared)
        self._used = self._names()
        self._rows = Rows(spec, self._used, language.zone)
        self._language = identifier(spec.language_column) if spec.language_column else None
        self._name = identifier(spec.name_column) if spec.name_column else None
        self._above: Above | None = None  # where they are the same for all rows, once they were written
        self._same_lines = False  # these and all others but To, Subject and Message-ID were written once

    def used(self) -> frozenset[str]:
        """Identifiers of the columns that the templates read, as far as can be told without running them."""
        own = {self._name} if self._name else set()
        if len(self.variants) > 1 and self._language:
            own.add(self._language)
        return frozenset((self._used | own | set(self._spec.required)) - {"row", "now"})

    def warnings(self) -> list[str]:
        """What compiling had to leave undone, in words."""
        return [warning for variant in self.variants.values() for warning in variant.body.warnings]

    def row_files(self, cells: Mapping[str, Any], identity: Identity | None = None) -> tuple[RowFile, ...]:
        """The per-recipient attachments of a row as they are now. Raises ContentError that names the path."""
        context = self._rows.context(cells, identity or Identity("<preview@mailer>", 0.0, ""))
        return tuple(record(self._root(), path) for path in self._paths(context))

    def compose(
        self,
        cells: Mapping[str, Any],
        to: str,
        identity: Identity,
        files: Sequence[RowFile] = (),
        own: Own = NOTHING,
    ) -> Composed:
        """See the contract. ``own`` is what this one message has beside its template. Raises ContentError
        for this row, and nothing else for any row."""
        context = self._rows.context(cells, identity)
        try:
            return self._composed(context, mailbox("To", to), identity, files, own)
        except ContentError as error:
            raise _with_culprit(error, cells) from None

    def examined(self, cells: Mapping[str, Any], to: str, identity: Identity, own: Own, size: int) -> str:
        """The author of what ``compose`` would make, for half its price or less: see ``dryrun``. Raises as
        it does. ``size`` is what the letter takes as JSON, in characters."""
        context = self._rows.context(cells, identity)
        variant = self._chosen(context)
        if variant.dry is None or self._row_files or not variant.dry.passes(context, size):
            return self.compose(cells, to, identity, (), own).author
        try:
            return self._author(variant, context, to, identity, own)
        except ContentError as error:
            raise _with_culprit(error, cells) from None

    def _author(self, variant: Variant, context: Context, to: str, identity: Identity, own: Own) -> str:
        """Raises ContentError for a header that cannot be written."""
        sender = own.sender or variant.sender_address
        if self._same_lines and sender and own.to and own.nameless and variant.titles(context, own):
            return sender.addr
        head = self._head(variant, context, mailbox("To", to), own)
        head_lines(head, identity)
        self._same_lines = self._header_lines.constant and not self._name
        return head.sender.addr

    def _composed(
        self, context: Context, to: Address, identity: Identity, files: Sequence[RowFile], own: Own
    ) -> Composed:
        variant = self._chosen(context)
        head = self._head(variant, context, to, own)
        return assembled(head, self._body(variant, context, files, own), identity)

    def _head(self, variant: Variant, context: Context, to: Address, own: Own) -> Head:
        above = self._above or self._written(context)
        if self._name:
            to = Address(to.local, to.domain, str(context.get(self._name, "")).strip())
        return Head(
            sender=own.sender or variant.sender_address or mailbox("From", variant.sender.text(context)),
            sender_line=None if own.sender else variant.sender_line,
            to=own.to or (to,),
            cc=above.cc + own.cc,
            bcc=above.bcc + own.bcc,
            reply_to=own.reply_to or above.reply_to,
            subject=variant.subject.text(context) if own.subject is None else own.subject,
            more=above.lines + own.lines,
            return_path=self._return_path,
        )

    def _written(self, context: Context) -> Above:
        above = self._header_lines.above(context)
        if self._header_lines.constant:
            self._above = above
        return above

    def _body(self, variant: Variant, context: Context, files: Sequence[RowFile], own: Own) -> mime.Body:
        body = variant.body
        html = body.html.render(context) if body.html else None
        text = body.text.render(context) if body.text else None
        if text is None and body.text_from_html and html is not None:
            text = plaintext.of(html)
        attached = (*self._attached(context, files), *own.files) if self._row_files else own.files
        parts = variant.parts
        if own.images:
            parts = replace(parts, images=(*parts.images, *own.images))
        return mime.Body(text, html, parts, attached)

    def _attached(self, context: Context, files: Sequence[RowFile]) -> list[bytes]:
        paths = self._paths(context)
        if not files:
            return [mime.attachment(path, contents(self._root(), path)) for path in paths]
        if [file.path for file in files] != paths:
            raise ContentError(
                "the attachments are not those that were recorded when the campaign was opened"
            )
        return [mime.attachment(file.path, verified(self._root(), file)) for file in files]

    def _paths(self, context: Context) -> list[str]:
        return [path for line in self._row_files if (path := line.text(context))]

    def _root(self) -> Path:
        if self._files_root is None:
            raise ContentError("attachments per recipient need a files folder", hint="Set MAILER_FILES.")
        return self._files_root

    def _chosen(self, context: Context) -> Variant:
        if len(self.variants) > 1 and self._language:
            tag = str(context.get(self._language, "")).strip().lower().replace("_", "-")
            found = self.variants.get(tag) or self.variants.get(tag.partition("-")[0])
            return found or self.variants[""]
        return self.variants[""]

    def _variant(self, bodies: Bodies, language: str, about: Manifest, shared: list[bytes]) -> Variant:
        own = about.languages.get(language)
        subject = (own and own.subject) or self._spec.subject or about.subject
        sender = (own and own.sender) or self._spec.sender or about.sender
        if subject is None or not sender:
            missing = "subject" if subject is None else "sender (from)"
            raise TemplateError(
                f"there is no {missing}", bodies.package.root, hint="In the campaign or in mail.toml."
            )
        body = bodies.body(language)
        from_line = Line.compiled("From", sender, bodies.line)
        subject_line = Line.compiled("Subject", subject, bodies.line)
        headers.text("Subject", subject_line.constant or "")
        address = mailbox("From", from_line.constant) if from_line.constant else None
        return Variant(
            body=body,
            parts=mime.Parts(body.images, tuple(shared)),
            subject=subject_line,
            sender=from_line,
            sender_line=headers.addresses("From", [address]) if address else None,
            sender_address=address,
            dry=DryRun.of(body, shared),
            subject_names=names_written(subject_line.piece) if subject_line.piece else None,
        )

    def _names(self) -> frozenset[str]:
        pieces: list[Piece | None] = [line.piece for line in self._row_files]
        for variant in self.variants.values():
            pieces += [variant.body.html, variant.body.text, variant.subject.piece, variant.sender.piece]
        return self._header_lines.names().union(*(piece.names for piece in pieces if piece))


def _shared(package: Package, path: str) -> bytes:
    if path not in package.shared:
        raise ContentError(f"attachment {path!r} is not part of this campaign's snapshot")
    return package.shared[path]


def _return_path(text: str) -> str:
    return mailbox("envelope sender", text).addr if text else ""


def _with_culprit(error: ContentError, cells: Mapping[str, Any]) -> ContentError:
    """The same error, saying which cells hold something that no header can carry."""
    if error.hint or error.file or not error.column:
        return error
    guilty = [name for name, value in cells.items() if isinstance(value, str) and UNSAFE.search(value)]
    if not guilty:
        return error
    hint = f"A line break or control character stands in: {', '.join(map(json.dumps, guilty))}"
    return ContentError(error.message, error.file, error.line, error.column, hint)
