"""Column names, as files have them and as templates call them."""

from __future__ import annotations

import re
import unicodedata

_APART = re.compile(r"\W+")


def identifier(header: str) -> str:
    """The name by which a template reaches a column: ``First Name`` is ``first_name``.

    Letters of any alphabet stay. Empty when the header has neither letter nor digit; then only
    ``row["…"]`` reaches the column.
    """
    name = _APART.sub("_", unicodedata.normalize("NFKC", header).lower()).strip("_")
    return f"_{name}" if name[:1].isdigit() else name
