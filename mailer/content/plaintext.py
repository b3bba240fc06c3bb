"""The text part, when only HTML was written: made once from the template, with its markup kept."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from mailer.content.flatten import Markup, pieces
from mailer.content.styles import TAG, masked

_PARAGRAPHS = frozenset(
    ("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "hr", "address")
)
_LINES = frozenset({"div", "tr", "li", "section", "br", "dt", "dd", "center", "main", "nav", "form", "body"})
_HIDDEN = frozenset({"head", "style", "script", "title", "template", "noscript"})
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "wbr", "col", "area", "base", "source"})

# Private characters around a number stand for a piece of Jinja while the HTML parser looks on.
_NO_TOKENS = {0xE000: None, 0xE001: None, 0xE002: None}
_TOKEN = re.compile("\ue000([0-9]+)\ue001")
# A line ends here unless one begins anyway: rows of a loop then have no empty lines between them.
_SOFT = "\ue002"
_SOFT_UNNEEDED = re.compile(f"{_SOFT}(?=(?:[ {_SOFT}]|\ue000[0-9]+\ue001)*(?:\n|$))")
_LIKE_MARKUP = re.compile(r"\{[{%#]")
_BLANKS = re.compile(r"[ \t\n\r\f]+")


def from_html(source: str) -> str | None:
    """A Jinja text template from a Jinja HTML template. None: tags depend on the row, so it cannot be one."""
    markup = pieces(source.translate(_NO_TOKENS))
    if _statements_in_tags("".join(part.text for part in markup)):
        return None
    kept: list[Markup] = []
    page = ""
    for part in markup:
        if part.kind == "data":
            page += part.text
        elif part.kind != "comment":
            page += f"\ue000{len(kept)}\ue001"
            kept.append(part)
    text = _LIKE_MARKUP.sub(lambda found: "{{ '" + found[0] + "' }}", _converted(page, kept))
    return _TOKEN.sub(lambda token: kept[int(token[1])].text, text)


def of(page: str) -> str:
    """The text of a finished page."""
    return tidied(_converted(page.translate(_NO_TOKENS), []))


def tidied(text: str) -> str:
    """Without blanks at line ends and more than one empty line, which statements leave behind."""
    if " \n" in text or "\n\n\n" in text or "\n " in text:
        text = re.sub(r"[ \t]*\n[ \t]*", "\n", text)
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip("\n ")


def _statements_in_tags(source: str) -> bool:
    """``<a {% if vip %}href=…{% endif %}>``: the attributes are known per row only."""
    page = masked(source)
    at = 0
    spans = [found.span() for found in TAG.finditer(page) if found["name"]]
    for part in pieces(source):
        if part.kind == "statement":
            for start, end in spans:
                inside = start < at < end
                if inside and page[start:at].count('"') % 2 == 0 and page[start:at].count("'") % 2 == 0:
                    return True
        at += len(part.text)
    return False


def _converted(page: str, kept: list[Markup]) -> str:
    writer = _Writer(kept)
    writer.feed(page)
    writer.close()
    text = _SOFT_UNNEEDED.sub("", "".join(writer.out)).replace(_SOFT, "\n")
    text = re.sub(r" *\n *", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", text)).strip("\n ")


class _Writer(HTMLParser):
    """Paragraphs as empty lines, links as ``text (url)``, pictures as what they say instead."""

    def __init__(self, kept: list[Markup]) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._kept = kept
        self._links: list[tuple[str, int]] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.append(tag)
            return
        unseen = "display:none" in attributes.get("style", "").replace(" ", "").lower()
        if (tag in _HIDDEN or unseen) and tag not in _VOID:
            self._hidden.append(tag)
        elif tag == "a":
            self._links.append((attributes.get("href", "").strip(), len(self.out)))
        elif tag == "img":
            self.out.append(_BLANKS.sub(" ", attributes.get("alt", "")))
        else:
            self._break(tag, "- " if tag == "li" else "-----" if tag == "hr" else "")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.pop()
        elif tag == "a" and self._links:
            self._end_link(*self._links.pop())
        elif tag in _LINES:
            self.out.append(_SOFT)
        elif tag not in _VOID:
            self._break(tag, "")

    def handle_data(self, data: str) -> None:
        self.out.append(self._statements(data) if self._hidden else _BLANKS.sub(" ", data))

    def handle_comment(self, data: str) -> None:
        # Jinja runs in comments too, and an {% if %} there needs its {% endif %}.
        self.out.append(self._statements(data))

    def _statements(self, data: str) -> str:
        tokens = _TOKEN.finditer(data)
        return "".join(token[0] for token in tokens if self._kept[int(token[1])].kind == "statement")

    def _break(self, tag: str, then: str) -> None:
        if tag in _PARAGRAPHS:
            self.out.append("\n\n" + then)
            if tag == "hr":
                self.out.append("\n\n")
        elif tag in _LINES:
            self.out.append("\n" + then)
        elif tag in {"td", "th"}:
            self.out.append(" ")

    def _end_link(self, url: str, start: int) -> None:
        text = "".join(self.out[start:]).strip()
        shown = url.removeprefix("mailto:").removeprefix("tel:")
        if not url or url.startswith(("#", "cid:", "javascript:")) or text in {url, shown}:
            return
        self.out.append(f" ({shown})" if text else shown)
