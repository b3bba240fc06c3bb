"""The bodies of a mail: one ``Body`` per language variant, each compiled once.

What is rendered is made for speed: inheritance resolved, CSS inlined, images turned into ``cid:``. What
a person wrote is kept beside it and rendered again when something fails, so errors name his own lines.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Template, TemplateNotFound, meta
from jinja2 import TemplateError as JinjaError

from mailer.content import flatten, mime, mjml, plaintext, styles
from mailer.content.blanks import Blanks
from mailer.content.contract import Package
from mailer.content.names import defined_names, row_names
from mailer.content.packages import folder_of
from mailer.content.problems import choice, in_row, in_template
from mailer.content.references import images_in, is_template, resolved, templates_in
from mailer.content.sandbox import GLOBALS, Sandbox, rendered
from mailer.errors import TemplateError


@dataclass(frozen=True, slots=True)
class Piece:
    """One compiled template. ``render`` raises ContentError, and nothing else for any row."""

    name: str
    template: Template
    origin: Template  # as written: for error messages
    names: frozenset[str]  # columns that it reads, as identifiers
    tidy: bool = False  # generated text: blank lines are left over where statements stood
    blanks: Blanks | None = None  # the same template, where it is no more than that

    def render(self, context: dict[str, Any]) -> str:
        if self.blanks is not None and (text := self.blanks.filled(context)) is not None:
            return plaintext.tidied(text) if self.tidy else text
        try:
            text = rendered(self.template, context)
        except Exception as error:  # noqa: BLE001 - a template can raise anything; this is the one seam
            raise self._explained(error, context) from None
        return plaintext.tidied(text) if self.tidy else text

    def _explained(self, error: Exception, context: dict[str, Any]) -> Exception:
        try:
            self.origin.render(context)
        except Exception as original:  # noqa: BLE001 - the same failure again, now with the author's lines
            error = original
        loader = self.origin.environment.loader
        columns = context.keys() - GLOBALS.keys() - {"row", "now"}
        return in_row(error, self.name, set(loader.list_templates() if loader else ()), columns)


@dataclass(frozen=True, slots=True)
class Body:
    """What one language variant sends. At least one of ``html`` and ``text`` is there."""

    html: Piece | None
    text: Piece | None
    images: tuple[bytes, ...] = ()
    warnings: tuple[str, ...] = ()
    text_from_html: bool = False  # per message, where no text template could be made


@dataclass
class Bodies:
    """Finds the variants of a package and compiles them."""

    package: Package
    filters: Mapping[str, Any]
    sources: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.sources = {
            name: _decoded(name, data) for name, data in self.package.files.items() if is_template(name)
        }

    @cached_property
    def _text_environment(self) -> Sandbox:
        return self._environment(self.sources, autoescape=False)

    def languages(self) -> list[str]:
        """Tags of the variants, ``""`` for the default; lower case."""
        found = {tag for name in self.sources if (tag := _language(name, self.package)) is not None}
        if "" not in found:
            there = ", ".join(sorted(self.sources))
            raise TemplateError(
                "the template has no body.html, body.mjml or body.txt", self.package.root, hint=there
            )
        return sorted(found)

    def bodies(self) -> list[str]:
        """The files that are bodies of this mail."""
        return [name for name in self.sources if _language(name, self.package) is not None]

    def body(self, language: str) -> Body:
        names = {kind: self._named(kind, language) for kind in ("html", "mjml", "txt")}
        text = self._text(names["txt"]) if names["txt"] else None
        html_name = names["mjml"] or names["html"]
        if html_name is None:
            return Body(None, text)
        return self._html(html_name, text)

    def line(self, name: str, source: str) -> Piece:
        """A template that is one line: a subject, a header, a path."""
        environment = self._environment({**self.sources, name: source}, autoescape=False)
        return self._piece(environment, environment, name, name)

    def _named(self, kind: str, language: str) -> str | None:
        wanted = (name for name in self.sources if _language(name, self.package) == language)
        return next((name for name in sorted(wanted) if name.endswith(f".{kind}")), None)

    def _text(self, name: str) -> Piece:
        return self._piece(self._text_environment, self._text_environment, name, name)

    def _html(self, name: str, text: Piece | None) -> Body:
        sources, images = self._with_images(name)
        written = self._environment(sources, autoescape=True)
        self._piece(written, written, name, name)  # complains about the author's lines first
        flat = flatten.flattened(name, sources, written.join_path)
        if name.endswith(".mjml"):
            flat = mjml.to_html(name, flat or flatten.Flat(sources[name], complete=False))
        if flat is None:
            warning = f"{name}: its inheritance is decided per row, so CSS stays in <style>"
            return Body(self._piece(written, written, name, name), text, images, (warning,), text is None)
        if name.endswith(".mjml"):
            inlined, warnings = flat.source, list[str]()  # mrml has done it, better for mail clients
        else:
            inlined, warnings = styles.inlined(name, flat)
        fast = f"{name} (compiled)"
        html = self._piece(self._environment({**sources, fast: inlined}, True), written, fast, name)
        text = text or self._text_of(flat, sources, written, name)
        return Body(html, text, images, tuple(warnings), text is None)

    def _text_of(
        self, flat: flatten.Flat, sources: Mapping[str, str], written: Sandbox, name: str
    ) -> Piece | None:
        """A text template made from the HTML one; None when only a finished page can be turned into text."""
        source = plaintext.from_html(flat.source)
        if source is None:
            return None
        fast = f"{name} (as text)"
        try:
            environment = self._environment({**sources, fast: source}, autoescape=False)
            return self._piece(environment, written, fast, name, tidy=True)
        except TemplateError:
            return None

    def _piece(
        self, environment: Sandbox, written: Sandbox, fast: str, name: str, tidy: bool = False
    ) -> Piece:
        try:
            names = self._names(written, name) | self._names(environment, fast)
            template = environment.get_template(fast)
            blanks = Blanks.of(environment.parse(_known(environment)[fast]), bool(environment.autoescape))
            return Piece(name, template, written.get_template(name), frozenset(names), tidy, blanks)
        except JinjaError as error:
            source = self.sources.get(name, "")
            raise in_template(error, name, source, self.package.files, environment.filters) from None

    def _names(self, environment: Sandbox, name: str) -> set[str]:
        """Every name that the template and what it uses take from the row."""
        names: set[str] = set()
        own: set[str] = set()
        for user, source in self._reached(environment, name).items():
            environment.get_template(user)  # complains with the file's own name and line
            tree = environment.parse(source)
            names |= meta.find_undeclared_variables(tree) | row_names(tree)
            own |= defined_names(tree)
        return names - own - environment.globals.keys()

    def _reached(self, environment: Sandbox, name: str) -> dict[str, str]:
        known = _known(environment)
        reached: dict[str, str] = {}
        todo = [name]
        while todo:
            user = todo.pop()
            reached[user] = known[user]
            for used in templates_in(known[user]):
                found = environment.join_path(used, user)
                if found in known:
                    todo += [] if found in reached else [found]
                elif "ignore missing" not in known[user]:
                    raise in_template(TemplateNotFound(used), user, known[user], known)
        return reached

    def _with_images(self, name: str) -> tuple[dict[str, str], tuple[bytes, ...]]:
        """The sources with relative images as ``cid:``, and those images as finished parts."""
        sources, images = dict(self.sources), dict[str, bytes]()
        for user in self._reached(self._text_environment, name):
            sources[user] = self._embedded(user, self.sources[user], images)
        return sources, tuple(images.values())

    def _embedded(self, user: str, source: str, images: dict[str, bytes]) -> str:
        pieces, done = [], 0
        for start, end, path in images_in(source):
            file = resolved(path, user, folder_of(self.package), self.package.files)
            if file is None:
                line = source.count("\n", 0, start) + 1
                raise TemplateError(
                    f"image {path!r} does not exist", user, line, hint=choice(path, self._images())
                )
            data = self.package.files[file]
            cid = mime.content_id(data)
            images[cid] = mime.attachment(file, data, content_id=cid)
            pieces += [source[done:start], f"cid:{cid}"]
            done = end
        return "".join([*pieces, source[done:]])

    def _images(self) -> Iterable[str]:
        """As ``src`` may name them: from the mail's folder, or else from the root."""
        folder = f"{folder_of(self.package)}/"
        return [name.removeprefix(folder) for name in self.package.files if not is_template(name)]

    def _environment(self, sources: Mapping[str, str], autoescape: bool) -> Sandbox:
        environment = Sandbox(sources, autoescape, folder_of(self.package))
        environment.filters.update(self.filters)
        return environment


def _known(environment: Sandbox) -> Mapping[str, str]:
    """The sources that it loads templates from."""
    sources: Mapping[str, str] = getattr(environment.loader, "sources", {})
    return sources


def _language(name: str, package: Package) -> str | None:
    """``""`` for body.html, ``"de"`` for body.de.html, None for what is no body of this mail."""
    if package.root in package.files:
        return "" if name == package.root else None
    if posixpath.dirname(name) != package.root:
        return None
    first, *middle, last = posixpath.basename(name).split(".")
    if first != "body" or last not in {"html", "mjml", "txt"} or len(middle) > 1:
        return None
    return middle[0].lower().replace("_", "-") if middle else ""


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TemplateError("this file is not UTF-8", name, line) from None
