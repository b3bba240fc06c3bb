"""What makes one message itself: the same on every attempt, in every process, on every machine (I7)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailer.address import Address, AddressError
from mailer.content.contract import Identity
from mailer.errors import ContentError

#: Used when the sender is a template, so that no domain is known without a row. RFC 2606 reserves it.
FALLBACK_DOMAIN = "mailer.invalid"

_PLAIN_DOMAIN = re.compile(r"@([A-Za-z0-9.\-]+)>?\s*\Z")


@dataclass(frozen=True, slots=True)
class Identities:
    """All identities of one campaign.

    ``campaign`` is any text that names it for good (digest and slug), ``date`` its start in seconds
    since the epoch, ``domain`` the right side of each Message-ID in A-label form.
    """

    campaign: str
    date: float
    domain: str

    def of(self, ordinal: int) -> Identity:
        seed = self._seed(ordinal)
        return Identity(message_id=f"<{seed}@{self.domain}>", date=self.date, seed=seed)

    def message_id(self, ordinal: int) -> str:
        return f"<{self._seed(ordinal)}@{self.domain}>"

    def _seed(self, ordinal: int) -> str:
        # A digest, not the ordinal: a Message-ID must not tell how long the list is.
        name = f"{self.campaign}\0{ordinal}".encode()
        return hashlib.blake2s(name, digest_size=12).hexdigest()


def identities(
    *, digest: str, slug: str, date: float, sender: str, return_path: str | None = None
) -> Identities:
    """The identities of a campaign; ``slug`` keeps a deliberate second run (``--again``) apart."""
    domain = sending_domain(sender, return_path)
    return Identities(campaign=f"{digest}\0{slug}", date=date, domain=domain)


def sending_domain(sender: str, return_path: str | None = None) -> str:
    """The domain that mail is sent from; FALLBACK_DOMAIN when no row tells it without rendering."""
    return _domain(sender) or _domain(return_path or "") or FALLBACK_DOMAIN


def _domain(sender: str) -> str | None:
    """The domain of a sender that may be a template; None when the domain is not literal."""
    if found := _PLAIN_DOMAIN.search(sender):
        return found[1].lower()
    try:
        return Address.parse(sender).domain
    except AddressError:
        return None


def identity_of_letter(letter: Mapping[str, Any]) -> Identity:
    """Of a message that was handed over by itself. Raises ContentError when what it was made of is gone."""
    if "date" not in letter:
        raise ContentError("its content was erased when it had ended")
    return Identity(letter["message_id"], letter["date"], letter["id"])
