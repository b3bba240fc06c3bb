"""From the header of a CSV column to the name that templates use."""

from __future__ import annotations

import keyword
import re
import unicodedata

from jinja2.lexer import name_re  # type: ignore[attr-defined]  # it has no other name there

#: Names that mean something else inside a template.
RESERVED = frozenset(
    ("row", "now", "range", "dict", "loop", "self", "super", "caller", "varargs", "kwargs", "none")
) | frozenset(word.lower() for word in keyword.kwlist)

# Letters that Unicode does not decompose, as people write them without their keyboard.
_SPELLED = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)
_ACCENTS = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_UNDERSCORES = re.compile("__+")


def identifier(header: str) -> str:
    """The template variable of a column: ``"First Name"`` -> ``first_name``, ``"Straße"`` -> ``strasse``.

    Idempotent. Latin letters lose their accents, letters of other scripts stay as they are
    (``{{ имя }}`` works). A leading digit gets ``_`` before it, a reserved word ``_`` after it, and a
    header without letters or digits is ``column``.
    """
    folded = unicodedata.normalize("NFKC", header.casefold()).casefold().translate(_SPELLED)
    bare = _ACCENTS.sub("", unicodedata.normalize("NFD", folded))
    kept = (char if _is_part(char) else " " for char in unicodedata.normalize("NFKC", bare))
    name = _UNDERSCORES.sub("_", "_".join("".join(kept).split())).strip("_")
    if not name:
        return "column"
    if not name.isidentifier():
        return f"_{name}"
    return f"{name}_" if name in RESERVED else name


def _is_part(char: str) -> bool:
    """Of a name, for Python and for Jinja, which knows the characters of an older Unicode."""
    name = f"a{char}"
    return name.isidentifier() and name_re.fullmatch(name) is not None
