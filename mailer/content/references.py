"""What a file of a package points to: other templates, and images beside it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from jinja2 import Environment, TemplateSyntaxError, meta

#: Suffixes of files that are read as Jinja source.
TEMPLATE_SUFFIXES = (".html", ".htm", ".txt", ".mjml", ".jinja", ".j2", ".css")

_IMAGE = re.compile(
    r"""(?P<before><(?:img|table|td|th|body|v:image|v:fill|v:imagedata|mj-image|mj-section|mj-hero|mj-wrapper)\b
        (?:[^<>"']|"[^"]*"|'[^']*')*?\s(?:src|background|background-url)\s*=\s*)
        (?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'<>]+))""",
    re.IGNORECASE | re.VERBOSE,
)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#|/", re.IGNORECASE)
_PARSER = Environment(autoescape=True)  # parses for references only, never renders


def is_template(name: str) -> bool:
    return name.lower().endswith(TEMPLATE_SUFFIXES)


def templates_in(source: str) -> set[str]:
    """Names that ``extends``, ``include`` and ``import`` give literally; none when it cannot be parsed."""
    try:
        found = meta.find_referenced_templates(_PARSER.parse(source))
    except TemplateSyntaxError:
        return set()
    return {name for name in found if name is not None}


def images_in(source: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, path) of each relative image whose path has no markup in it."""
    for match in _IMAGE.finditer(source):
        group = next(name for name in ("double", "single", "bare") if match[name] is not None)
        path = match[group].strip()
        if path and not _ELSEWHERE.match(path) and "{{" not in path and "{%" not in path:
            yield match.start(group), match.end(group), path


def resolved(path: str, user: str, root: str, files: Mapping[str, object]) -> str | None:
    """The file that ``path`` means in file ``user``: beside it, in the mail's folder or below the root."""
    clean = re.split("[?#]", path, maxsplit=1)[0]
    for folder in (posixpath.dirname(user), root, ""):
        name = posixpath.normpath(posixpath.join(folder, clean))
        if name in files:
            return name
    return None
