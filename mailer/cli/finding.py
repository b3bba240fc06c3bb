"""What ``mailer doctor`` says of one thing that it tried."""

from __future__ import annotations

from dataclasses import dataclass

#: How it went.
OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: where, how it went, and what was seen or what to do."""

    place: str
    state: str
    text: str
