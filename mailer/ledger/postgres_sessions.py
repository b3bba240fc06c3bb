"""Connections to PostgreSQL, and what each of them is told before it is used."""

from __future__ import annotations

import os
import socket
from typing import Any

import psycopg
from sqlalchemy import URL, Dialect, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from mailer.errors import ConfigError, LedgerBusy
from mailer.ledger.dialect import Room

SCHEMA = "mailer"

#: How long a writer waits for the others, for a lock and for a server that restarts.
PATIENCE_SECONDS = 60.0

#: Every statement is written for an index that leads to its rows, also right after a million were loaded and
#: before anybody has counted them; and plans are kept. A commit is durable before it is confirmed, whatever
#: the server's default.
_SESSION = f"""
SET search_path TO {SCHEMA};
SET lock_timeout = '{PATIENCE_SECONDS:.0f}s';
SET idle_in_transaction_session_timeout = '{PATIENCE_SECONDS:.0f}s';
SET jit = off;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""

#: libpq's; any of them may be given in the URL. A peer that vanished is noticed within half a minute.
_CONNECT = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

#: More processes than this cannot write to one ledger at once.
_WRITERS = 1000
_NUMBER = "SELECT k FROM generate_series(0, %s) AS k WHERE pg_try_advisory_lock(%s, k::int4) LIMIT 1"
_ENROL = "INSERT INTO meta (key, value) VALUES (%s, 0) ON CONFLICT DO NOTHING"


class Sessions:
    """All connections to one database. ``number`` is this process' among the writers; None before the first
    migration. ``dialect`` is SQLAlchemy's, once there is an engine."""

    dialect: Dialect

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self.place = f"database {url.database or url.username} at {url.host or 'the local socket'}"
        self.number: int | None = None

    def writer(self) -> Engine:
        """For one connection, used by whoever has the turn, who says when a transaction begins and ends."""
        engine = self._engine(StaticPool, isolation_level="AUTOCOMMIT")

        @event.listens_for(engine, "connect")
        def enrol(driver: Any, _: object) -> None:
            driver.autocommit = True
            (known,) = driver.execute("SELECT to_regclass('meta') IS NOT NULL").fetchone()
            self.number = None
            if known:  # not before the first migration
                found = driver.execute(_NUMBER, (_WRITERS - 1, Room.WRITER.value)).fetchone()
                if found is None:
                    driver.close()
                    raise LedgerBusy(f"{_WRITERS} processes write to {self.place}: end some of them")
                self.number = int(found[0])
                driver.execute(_ENROL, (f"writer-{self.number}",))

        return engine

    def readers(self) -> Engine:
        engine = self._engine(QueuePool, pool_pre_ping=True)

        @event.listens_for(engine, "connect")
        def prepare(driver: Any, _: object) -> None:
            driver.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            driver.read_only = True

        return engine

    def _engine(self, pool: type[QueuePool | StaticPool], **options: Any) -> Engine:
        # What is wrong must not be told with the values: they are people's addresses.
        engine = create_engine(
            self._url,
            poolclass=pool,
            paramstyle="format",
            hide_parameters=True,
            use_native_hstore=False,
            connect_args=self._arguments(),
            **options,
        )
        event.listen(engine, "connect", self._session)
        self.dialect = engine.dialect
        return engine

    def _arguments(self) -> dict[str, str]:
        about = {"application_name": f"mailer {_me()}", "client_encoding": "utf8"}
        return {name: value for name, value in (_CONNECT | about).items() if name not in self._url.query}

    def _session(self, driver: Any, _: object) -> None:
        encoding = driver.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            driver.close()
            raise ConfigError(f"{self.place} is in {encoding}: the ledger needs a database in UTF8")
        before, driver.autocommit = driver.autocommit, True
        driver.execute(_SESSION)
        driver.autocommit = before

    def connect(self) -> psycopg.Connection[Any]:
        """One of its own, outside the pools. It must be closed."""
        url = self._url
        given = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
        known = {name: str(value) for name, value in given.items() if value is not None}
        text = {name: str(value) for name, value in url.query.items()}
        driver = psycopg.connect(
            dbname=url.database,
            autocommit=True,
            **(self._arguments() | text | known),  # type: ignore[arg-type]
        )
        self._session(driver, None)
        return driver


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
