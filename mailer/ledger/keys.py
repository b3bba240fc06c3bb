"""Keys of applications. What is stored cannot be used to log in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from mailer.ledger.database import Database
from mailer.ledger.schema import api_key

_COLUMNS = ("id", "name", "digest", "scopes", "senders", "rate", "created_at", "expires_at")

_FIND = select(api_key).where(api_key.c.id == bindparam("key"))
_USED = update(api_key).where(api_key.c.id == bindparam("key")).values(used_at=bindparam("now"))


@dataclass(frozen=True, slots=True)
class StoredKey:
    """``digest`` is the SHA-256 of the secret, as hex; times are the database's."""

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    senders: tuple[str, ...]
    rate: str | None
    created_at: float
    expires_at: float | None
    used_at: float | None
    revoked_at: float | None


class Keys:
    """What is over stays, and is told as such: whether a key is good is for its reader to say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        key_id: str,
        digest: str,
        *,
        name: str,
        scopes: tuple[str, ...],
        senders: tuple[str, ...],
        rate: str | None,
        lasts: float | None,
    ) -> None:
        """``lasts`` seconds from now; None: until it is revoked."""
        with self._database.write() as tx:
            until = None if lasts is None else tx.now + lasts
            lists = (json.dumps(scopes), json.dumps(senders))
            row = (key_id, name, digest, *lists, rate, tx.now, until)
            tx.dialect.insert_new(tx.cursor, api_key.name, _COLUMNS, [row])

    def find(self, key_id: str) -> tuple[StoredKey | None, float]:
        """The key, and the database's time now."""
        with self._database.read() as connection:
            row = connection.execute(_FIND, {"key": key_id}).one_or_none()
            return (None if row is None else _stored(row)), self._database.now(connection)

    def list(self) -> list[StoredKey]:
        """Oldest first, with those that are over."""
        with self._database.read() as connection:
            found = connection.execute(select(api_key).order_by(api_key.c.created_at, api_key.c.id))
            return [_stored(row) for row in found]

    def revoke(self, key_id: str) -> bool:
        """False: there is none, or it was revoked before."""
        valid = api_key.c.id == key_id, api_key.c.revoked_at.is_(None)
        with self._database.write() as tx:
            return tx.execute(update(api_key).where(*valid).values(revoked_at=tx.now)).rowcount > 0

    def used(self, key_id: str) -> None:
        """Remember that it was used now."""
        with self._database.write() as tx:
            tx.execute(_USED, key=key_id, now=tx.now)


def _stored(row: Any) -> StoredKey:
    values = dict(row._mapping)
    values["scopes"] = tuple(json.loads(values["scopes"]))
    values["senders"] = tuple(json.loads(values["senders"]))
    return StoredKey(**values)
