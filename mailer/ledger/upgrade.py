"""Creates a ledger, and brings an old one up to date. Alembic is imported only when there is work."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect

from mailer.errors import LedgerError
from mailer.ledger.database import Database
from mailer.ledger.dialect import Room
from mailer.ledger.schema import meta

#: The newest of ``migrations/versions``. Revisions are numbers, so older and newer can be told apart.
HEAD = "0006"


def bring_up(database: Database) -> None:
    """Raises LedgerError for a ledger that a newer version wrote, and for a database that is none."""
    found = stored_revision(database)
    if found is not None and found > HEAD:
        raise LedgerError(
            f"the ledger was written by a newer version (revision {found}; this one knows {HEAD}):"
            " update this program, or name another ledger with --ledger"
        )
    if found != HEAD:
        with database.write() as transaction:
            transaction.alone(Room.MIGRATION)
            if _revision(transaction.connection) != HEAD:  # nobody was quicker
                transaction.dialect.prepare(transaction.cursor)
                _upgrade(transaction.connection)
                born = [("epoch", int(transaction.now * 1000))]
                transaction.dialect.insert_new(transaction.cursor, meta.name, ("key", "value"), born)
        database.close()  # its connections were opened over what was there before


def stored_revision(database: Database) -> str | None:
    """None for an empty file, and for none."""
    if not database.exists():
        return None
    with database.read() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return found
    if tables:
        raise LedgerError("this database holds something else: name another with --ledger")
    return None


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
