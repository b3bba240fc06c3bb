"""Who may hand over messages, and ask about them: keys, the same for every face that needs one.

A key is ``mk_ID_SECRET``. The ledger holds a SHA-256 of the secret: that is enough for 160 random bits, and
costs nothing per request.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256

from mailer.errors import AccessDenied, InputError
from mailer.ledger.keys import StoredKey
from mailer.ledger.ledger import Ledger

#: send: hand over messages and cancel them. read: ask what became of them. admin: campaigns too.
SCOPES = ("send", "read", "admin")
#: ``used_at`` is no more exact than this, so that using a key does not cost a write each time.
USED_SECONDS = 60.0

_FORM = re.compile(r"(mk_[0-9a-f]{12})_([0-9a-f]{40})", re.ASCII)
#: Said of every key that lets nobody in, so that nothing can be learnt by trying.
_NO = "the key is not known, was revoked or has expired"


@dataclass(frozen=True, slots=True)
class Key:
    """Somebody who has been let in. ``rate`` is what the key may hand over, such as ``"50/s"``."""

    id: str
    name: str
    scopes: frozenset[str]
    senders: tuple[str, ...]
    rate: str | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def may_send_as(self, address: str) -> bool:
        """``address`` is that of From, without a name. A key without a list may use any."""
        folded = address.casefold()
        return not self.senders or any(fnmatchcase(folded, pattern) for pattern in self.senders)


def authenticate(ledger: Ledger, text: str) -> Key:
    """Who shows ``mk_ID_SECRET``. Raises AccessDenied; LedgerError."""
    form = _FORM.fullmatch(text)
    stored, now = ledger.keys.find(form[1]) if form else (None, 0.0)
    digest = sha256((form[2] if form else "").encode()).hexdigest()
    right = hmac.compare_digest(digest, stored.digest if stored else "")
    if stored is None or not right or stored.revoked_at is not None or _over(stored, now):
        raise AccessDenied(_NO)
    if stored.used_at is None or now - stored.used_at > USED_SECONDS:
        ledger.keys.used(stored.id)
    return Key(stored.id, stored.name, frozenset(stored.scopes), stored.senders, stored.rate)


def _over(stored: StoredKey, now: float) -> bool:
    return stored.expires_at is not None and now >= stored.expires_at


def create(
    ledger: Ledger,
    name: str = "",
    *,
    scopes: Sequence[str] = ("send", "read"),
    senders: Sequence[str] = (),
    rate: str | None = None,
    lasts: float | None = None,
) -> str:
    """A new key, ``mk_ID_SECRET``: nobody can read it again. ``lasts`` is in seconds, ``rate`` as
    ``"50/s"``. Raises InputError for scopes and senders that are none."""
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InputError(f"{', '.join(scopes)!r}: scopes are some of: {', '.join(SCOPES)}")
    for pattern in senders:
        if "@" not in pattern:
            raise InputError(f"{pattern!r} fits no address", hint=f"For all of a domain write '*@{pattern}'.")
    key_id, secret = f"mk_{secrets.token_hex(6)}", secrets.token_hex(20)
    ledger.keys.add(
        key_id,
        sha256(secret.encode()).hexdigest(),
        name=name,
        scopes=tuple(dict.fromkeys(scopes)),
        senders=tuple(pattern.casefold() for pattern in senders),
        rate=rate,
        lasts=lasts,
    )
    return f"{key_id}_{secret}"
