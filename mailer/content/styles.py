"""CSS inlined once per template, with the Jinja markup left exactly where it stands.

The page is never serialised again by an HTML parser, which would move Jinja statements out of tables,
close tags inside loops and rewrite conditional comments. Instead css-inline sees a copy whose markup is
blanked out and whose start tags are numbered; only the ``style`` attribute that it computes for each
number is carried back into the source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import css_inline

from mailer.content.flatten import Flat, pieces

#: Comments and declarations, or one tag. Quoted values may hold ``>``.
TAG = re.compile(
    r"<!--.*?-->|<[!?][^>]*>|<(?P<close>/?)(?P<name>[a-zA-Z][^\s/>\"'=]*)(?P<rest>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.DOTALL,
)
#: Their content is text to the parser, whatever it looks like.
RAW = frozenset({"style", "script", "title", "textarea", "xmp", "noscript"})
_STYLE = re.compile(r"""\sstyle\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE)
_MARK = "data-inlined-as"


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag in a source: where it and its attributes are, and its content when that is raw text."""

    name: str
    start: int
    attributes: int
    end: int
    content: tuple[int, int] | None = None


def masked(source: str) -> str:
    """As long as the source, with everything of Jinja blanked: expressions are letters, the rest spaces."""
    return "".join(
        part.text
        if part.kind == "data"
        else ("x" if part.kind in {"expression", "raw"} else " ") * len(part.text)
        for part in pieces(source)
    )


def start_tags(page: str) -> list[Tag]:
    """Start tags outside comments and raw text, in order."""
    tags, at = [], 0
    while found := TAG.search(page, at):
        at = found.end()
        if not found["name"] or found["close"]:
            continue
        name = found["name"].lower()
        content = None
        if name in RAW:
            closing = re.compile(rf"</{name}\b", re.IGNORECASE).search(page, at)
            content = (at, closing.start() if closing else len(page))
            at = content[1]
        tags.append(Tag(name, found.start(), found.start("rest"), found.end(), content))
    return tags


def inlined(name: str, flat: Flat) -> tuple[str, list[str]]:
    """(the source with its CSS in ``style`` attributes, warnings). Rules that cannot be inlined stay."""
    source = "".join(part.text for part in pieces(flat.source))
    page = masked(source)
    tags = start_tags(page)
    if not any(tag.name == "style" for tag in tags):
        return source, []
    try:
        computed = _computed(_numbered(source, page, tags), keep=not flat.complete)
    except (ValueError, OSError) as error:
        return source, [f"{name}: CSS stays in <style>: {error}"]
    written, done = [], 0
    for number, tag in enumerate(tags):
        style, rules = computed.get(number, (None, None))
        for start, end, text in _changes(source, page, tag, style, rules):
            written += [source[done:start], text]
            done = end
    return "".join([*written, source[done:]]), []


def _numbered(source: str, page: str, tags: list[Tag]) -> str:
    written, done = [], 0
    for number, tag in enumerate(tags):
        written += [page[done : tag.attributes], f' {_MARK}="{number}"']
        done = tag.attributes
        attribute = _STYLE.search(page, tag.attributes, tag.end)
        if tag.name == "style" and tag.content and _dynamic(source, page, *tag.content):
            written.append(' data-css-inline="ignore"')
        elif attribute and _dynamic(source, page, *attribute.span(1)):
            # Its own declarations come back behind the computed ones.
            written.append(page[done : attribute.start()])
            done = attribute.end()
    return "".join([*written, page[done:]])


def _dynamic(source: str, page: str, start: int, end: int) -> bool:
    return source[start:end] != page[start:end]


def _computed(page: str, keep: bool) -> dict[int, tuple[str | None, str | None]]:
    """Number -> (style attribute, text of a style element) as css-inline leaves them."""
    inliner = css_inline.CSSInliner(
        keep_style_tags=True, remove_inlined_selectors=not keep, load_remote_stylesheets=False
    )
    reader = _Reader()
    reader.feed(inliner.inline(page))
    reader.close()
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: dict[int, tuple[str | None, str | None]] = {}
        self._open: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        number = attributes.get(_MARK)
        if number is not None:
            self.found[int(number)] = (attributes.get("style"), "" if tag == "style" else None)
            self._open = int(number) if tag == "style" else None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            style, rules = self.found[self._open]
            self.found[self._open] = (style, (rules or "") + data)

    def handle_endtag(self, tag: str) -> None:
        self._open = None


def _changes(
    source: str, page: str, tag: Tag, style: str | None, rules: str | None
) -> list[tuple[int, int, str]]:
    """(start, end, new text) for one tag, in order."""
    if tag.name == "style" and tag.content:
        dynamic = _dynamic(source, page, *tag.content) or rules is None
        return [] if dynamic else [(*tag.content, rules or "")]
    if style is None:
        return []
    quoted = style.replace("&", "&amp;").replace('"', "&quot;")
    # Jinja would read these, and CSS has no need of them side by side.
    quoted = re.sub(r"([{}])(?=[{}%#])", r"\1 ", quoted)
    attribute = _STYLE.search(page, tag.attributes, tag.end)
    if attribute is None:
        return [(tag.attributes, tag.attributes, f' style="{quoted}"')]
    start, end = attribute.span(1)
    if not _dynamic(source, page, start, end):
        return [(start, end, f'"{quoted}"')]
    opening = page[start] if page[start] in "\"'" else ""
    if not opening:
        return []
    own = quoted.replace("'", "&#39;") if opening == "'" else quoted
    return [(start + 1, start + 1, own.rstrip("; ") + "; ")]
