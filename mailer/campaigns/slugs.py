"""Readable names of campaigns: ``november-newsletter-7f3a``."""

from __future__ import annotations

import re

from mailer.content.columns import identifier

_LONGEST = 48
_OTHER = re.compile(r"[^a-z0-9]+")


def slugged(name: str) -> str:
    """Lower case, ASCII letters and digits with dashes between; "campaign" when nothing is left."""
    return _OTHER.sub("-", identifier(name)).strip("-")[:_LONGEST].rstrip("-") or "campaign"


def slug(name: str, digest: str, digits: int = 4) -> str:
    """The name with the first digits of its identity."""
    return f"{slugged(name)}-{digest[:digits]}"
