"""MJML to HTML, once per template, with the Jinja markup carried through."""

from __future__ import annotations

import re

import mrml

from mailer.content.flatten import Flat, Markup, pieces
from mailer.content.styles import TAG, masked
from mailer.errors import TemplateError

_TOKEN = re.compile(r"<!--jx([0-9]+)xj-->|jx([0-9]+)xj")
#: Their content is text: a comment in them would be shown.
_TEXT_ELEMENTS = re.compile(r"<(mj-style|mj-title|mj-preview)\b.*?</\1", re.DOTALL)
_HINT = "Statements may stand between elements and in texts; inside <mj-raw> anything may."
_UNKNOWN = re.compile(r"<(mj-[a-z-]+)")


def to_html(name: str, flat: Flat) -> Flat:
    """Raises TemplateError for what mrml refuses and for markup that does not survive it."""
    source = "".join(part.text for part in pieces(flat.source))
    kept: list[Markup] = []
    page = _with_tokens(name, source, kept)
    try:
        html = mrml.to_html(page).content
    except OSError as error:
        raise TemplateError(f"MJML cannot be read: {error}", name) from None
    if unknown := _UNKNOWN.search(html):
        raise TemplateError(f"MJML has no element <{unknown[1]}> here", name)
    found = [int(token[1] or token[2]) for token in _TOKEN.finditer(html)]
    for number, part in enumerate(kept):
        if number not in found:
            raise TemplateError(f"MJML drops {part.text.strip()[:60]!r} where it stands", name, hint=_HINT)
    statements = [at for at in found if kept[at].kind == "statement"]
    if statements != sorted(statements):
        raise TemplateError("MJML moves {% … %} statements where they stand", name, hint=_HINT)
    return Flat(_TOKEN.sub(lambda token: kept[int(token[1] or token[2])].text, html), flat.complete)


def _with_tokens(name: str, source: str, kept: list[Markup]) -> str:
    page = masked(source)
    tags = [found.span() for found in TAG.finditer(page)]
    texts = [found.span() for found in _TEXT_ELEMENTS.finditer(page)]
    written, at = [], 0
    for part in pieces(source):
        start, at = at, at + len(part.text)
        if part.kind in {"data", "comment"}:
            written.append(part.text if part.kind == "data" else "")
            continue
        token = f"jx{len(kept)}xj"
        kept.append(part)
        tag = next((page[first:start] for first, last in tags if first < start < last), None)
        if tag is not None and not tag.startswith("<!") and tag.count('"') % 2 == 0:
            line = source.count("\n", 0, start) + 1
            raise TemplateError("Jinja inside an MJML tag must stand in a quoted attribute", name, line)
        plain = tag is not None or part.kind != "statement" or any(a < start < b for a, b in texts)
        written.append(token if plain else f"<!--{token}-->")
    return "".join(written)
