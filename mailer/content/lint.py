"""What is odd about a mail, seen without rendering it: for ``check``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from jinja2 import TemplateSyntaxError

from mailer.content.bodies import Bodies
from mailer.content.composer import MailComposer
from mailer.content.contract import MailSpec, Package
from mailer.content.problems import choice
from mailer.content.references import is_template
from mailer.content.styles import TAG, masked

#: Gmail cuts longer pages off and hides the rest behind a link.
CLIPPED_AT = 102_000


class Severity(StrEnum):
    WRONG = "wrong"  # rows will fail, or harm
    ODD = "odd"  # most likely not meant


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    template: str
    line: int | None
    message: str


_UNQUOTED = re.compile(r"\s([a-z-]+)\s*=\s*(?=[^\s\"'>]*\{\{)(?![\"'])", re.IGNORECASE)
_IMG_ALT = re.compile(r"\salt\s*=", re.IGNORECASE)
_SCRIPT_URL = re.compile(r"(?:href|src|action)\s*=\s*[\"']?\s*javascript:", re.IGNORECASE)
#: A picture on somebody's disk, or below a server that no mail knows.
_UNREACHABLE = re.compile(
    r"""<(?:img|mj-image)\b[^>]*?\ssrc\s*=\s*["']?(file:[^"'>\s]*|[a-z]:\\[^"'>]*|/(?!/)[^"'>\s]*)""",
    re.IGNORECASE,
)
_STYLE = re.compile(r"<style\b.*?</style", re.IGNORECASE | re.DOTALL)


def findings(
    package: Package, spec: MailSpec, composer: MailComposer, columns: Collection[str] | None = None
) -> list[Finding]:
    """Everything there is to say, in the order of the files. ``columns`` are the identifiers of the input."""
    found: list[Finding] = []
    for name, data in package.files.items():
        if is_template(name):
            found += _in_source(name, data.decode("utf-8-sig", "replace"))
    return [*found, *_in_mail(package, spec, composer), *_unknown(package, composer, columns)]


def too_large(html_octets: int, package: Package) -> Finding | None:
    """For a rendered page: Gmail would clip it."""
    if html_octets <= CLIPPED_AT:
        return None
    message = f"the HTML has {html_octets // 1000} kB; Gmail hides everything after {CLIPPED_AT // 1000} kB"
    return Finding(Severity.ODD, package.root, None, message)


def _in_source(name: str, source: str) -> Iterator[Finding]:
    yield from (
        Finding(
            Severity.ODD, name, _line(source, css.start() + at.start()), "'{#' in CSS begins a Jinja comment"
        )
        for css in _STYLE.finditer(source)
        for at in re.finditer(r"\{#", css[0])
    )
    if name.endswith((".txt", ".css")):
        return
    try:
        page = masked(source)
    except TemplateSyntaxError:
        return
    if len(page) != len(source):  # blanks that "-" removes: the same lines, other columns
        page = source
    yield from _in_tags(name, source, page)


def _in_tags(name: str, source: str, page: str) -> Iterator[Finding]:
    for tag in TAG.finditer(page):
        text = source[tag.start() : tag.end()]
        line = _line(source, tag.start())
        if not tag["name"] or tag["close"]:
            continue
        if unquoted := _UNQUOTED.search(text):
            message = f"{unquoted[1]}={{{{ … }}}} without quotes: a blank in a cell starts a new attribute"
            yield Finding(Severity.WRONG, name, line, message)
        if tag["name"].lower() == "img" and not _IMG_ALT.search(text):
            yield Finding(Severity.ODD, name, line, "this picture has no alt text")
        if unreachable := _UNREACHABLE.search(text):
            message = (
                f"nobody can load the picture {unreachable[1]!r}: it needs https://, or a path below here"
            )
            yield Finding(Severity.WRONG, name, line, message)
        if _SCRIPT_URL.search(text):
            yield Finding(
                Severity.WRONG, name, line, "javascript: does nothing in mail and looks like an attack"
            )


def _in_mail(package: Package, spec: MailSpec, composer: MailComposer) -> Iterator[Finding]:
    for warning in composer.warnings():
        yield Finding(Severity.ODD, package.root, None, warning)
    bodies = Bodies(package, {})
    if not any(name.endswith(".txt") for name in bodies.bodies()):
        yield Finding(
            Severity.ODD, package.root, None, "there is no body.txt: the text part is made from the HTML"
        )
    for name in bodies.bodies():
        if name.endswith(".html") and (mjml := f"{name.removesuffix('html')}mjml") in bodies.bodies():
            yield Finding(Severity.ODD, name, None, f"{name} is not used: {mjml} comes first")
    headers = {name.lower() for name in spec.headers}
    if spec.stream == "bulk" and not spec.list_unsubscribe and "list-unsubscribe" not in headers:
        message = "bulk mail without list_unsubscribe: Gmail and Yahoo require it from larger senders"
        yield Finding(Severity.ODD, package.root, None, message)
    for name, data in package.files.items():
        if name in bodies.bodies() and (large := too_large(len(data), package)):
            yield Finding(large.severity, name, None, large.message)


def _unknown(package: Package, composer: MailComposer, columns: Collection[str] | None) -> Iterator[Finding]:
    if columns is None:
        return
    for name in sorted(composer.used() - set(columns)):
        hint = choice(name, columns) or ""
        yield Finding(Severity.WRONG, package.root, None, f"{{{{ {name} }}}} is no column. {hint}".strip())


def _line(source: str, at: int) -> int:
    return source.count("\n", 0, at) + 1
