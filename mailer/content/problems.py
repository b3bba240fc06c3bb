"""What a template's failure means, in words for the person who wrote it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from jinja2 import TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError

from mailer.errors import ContentError, InputError, MissingData, TemplateError

_MISSING = re.compile(r"'([^']*)' is undefined|has no (?:attribute|element) '?([^']*?)'?$")
_CSS_COMMENT = (
    "'{#' begins a comment in Jinja, also inside CSS: put a space or a line break between '{' and '#'."
)
_CSS_STATEMENT = (
    "'{%' begins a statement in Jinja, also inside CSS: put a space or a line break between '{' and '%'."
)
_NO_FILTER = re.compile(r"No filter named '([^']*)'")


def in_template(
    error: Exception, name: str, source: str, known: Iterable[str], filters: Collection[str] = ()
) -> TemplateError:
    """A template that cannot be loaded or compiled. ``known`` are the names of the files that exist."""
    if isinstance(error, TemplateSyntaxError):
        message = error.message or "syntax error"
        return TemplateError(message, error.name or name, error.lineno, hint=_hint(message, source, filters))
    if isinstance(error, TemplateNotFound):
        wanted = str(error.name or error)
        return TemplateError(
            f"it uses {wanted!r}, which does not exist",
            name,
            _line_with(source, wanted),
            hint=choice(wanted, known),
        )
    return TemplateError(_words(error), name)


def _hint(message: str, source: str, filters: Collection[str]) -> str | None:
    if "comment" in message and "{#" in source:
        return _CSS_COMMENT
    if "unknown tag" in message and re.search(r"<style\b[^<]*\{%", source, re.IGNORECASE):
        return _CSS_STATEMENT
    missing = _NO_FILTER.match(message)
    if missing and (near := get_close_matches(missing[1], filters, n=1)):
        return f"Did you mean {near[0]!r}?"
    return None


def in_row(error: Exception, name: str, files: Collection[str], known: Iterable[str]) -> InputError:
    """A template that fails for one row. ``known`` are the columns that exist."""
    if isinstance(error, InputError):
        return error
    file, line = _place(error, files)
    if isinstance(error, TemplateNotFound):
        return ContentError(f"it uses {error.name!r}, which does not exist", file or name, line)
    if isinstance(error, UndefinedError):
        found = _MISSING.search(str(error))
        wanted = next((group for group in found.groups() if group), "") if found else ""
        message = f"there is no {wanted!r}" if wanted else str(error)
        return MissingData(message, file or name, line, None, choice(wanted, known))
    hint = "An empty cell? | default(0) gives it a value." if isinstance(error, TypeError) else None
    return ContentError(_words(error), file or name, line, hint=hint)


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the template calls itself without end"
    if isinstance(error, SecurityError | ValueError | TypeError | ArithmeticError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _place(error: Exception, files: Collection[str]) -> tuple[str | None, int | None]:
    """The innermost line of a template; Jinja rewrites tracebacks to the template's own lines."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_filename in files:
            return frame.f_code.co_filename, line
    return None, None


def _line_with(source: str, text: str) -> int | None:
    at = source.find(text)
    return source.count("\n", 0, at) + 1 if at >= 0 else None


def choice(wanted: str, known: Iterable[str]) -> str | None:
    """A hint: the nearest of the known names, and all of them."""
    names = sorted(known)
    if not names:
        return None
    near = get_close_matches(wanted, names, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    more = ", …" if len(names) > 30 else ""
    return f"{meant}There is: {', '.join(names[:30])}{more}"
