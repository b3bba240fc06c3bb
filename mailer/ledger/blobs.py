"""Contents by their hash: templates and shared attachments of campaigns."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from mailer.errors import LedgerError
from mailer.ledger.database import Database
from mailer.ledger.schema import blob


class Blobs:
    """The same content is stored once, with whatever names it: see ``contents``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> bytes:
        """Raises LedgerError when it is not there."""
        with self._database.read() as connection:
            data = connection.execute(select(blob.c.data).where(blob.c.sha256 == name)).scalar()
        if data is None:
            raise LedgerError(f"content {name} is missing from the ledger: restore it from a backup")
        return bytes(data)

    def several(self, names: Collection[str]) -> dict[str, bytes]:
        """Those that are there."""
        with self._database.read() as connection:
            found = connection.execute(select(blob).where(blob.c.sha256.in_(names)))
            return {name: bytes(data) for name, data in found}
