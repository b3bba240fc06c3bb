"""The guard rails of ``[safety]``, enforced in the engine so that no face can forget them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Safety:
    """``redirect_to``: every envelope goes there instead; headers and body stay as they are.

    ``allow_recipients``: patterns such as ``*@acme.example``; nothing leaves for another address. Empty
    means no restriction. Both look at the whole envelope, Cc and Bcc copies included.
    """

    redirect_to: str | None = None
    allow_recipients: tuple[str, ...] = ()

    def envelope(self, recipients: tuple[str, ...]) -> tuple[str, ...] | None:
        """Where this message really goes; None when it may not leave."""
        if self.redirect_to is not None:
            recipients = (self.redirect_to,)
        if not self.allow_recipients or all(map(self._allowed, recipients)):
            return recipients
        return None

    def _allowed(self, address: str) -> bool:
        folded = address.casefold()
        return any(fnmatchcase(folded, pattern.casefold()) for pattern in self.allow_recipients)


#: No guard rails: production.
UNRESTRICTED = Safety()
