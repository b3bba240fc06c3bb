"""What came in and what was refused, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Received:
    """``messages``, ``recipients`` (envelope, one per copy) and ``octets`` count what was taken.

    ``refused`` is keyed ``"rcpt 451"``, ``dropped`` by the drop's name, ``odd`` by what a client did that
    no server need accept.
    """

    connections: int = 0
    open: int = 0
    transactions: int = 0
    messages: int = 0
    recipients: int = 0
    octets: int = 0
    encrypted: int = 0
    logins: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, object]:
        """For JSON, without what is only true at this moment."""
        return {
            "connections": self.connections,
            "messages": self.messages,
            "recipients": self.recipients,
            "octets": self.octets,
            "encrypted": self.encrypted,
            "logins": self.logins,
            "refused": dict(sorted(self.refused.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "odd": dict(sorted(self.odd.items())),
        }
