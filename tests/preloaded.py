"""What the server of forked processes has imported before the first fork: all that a command or a worker may
need. Nothing here may start a thread or open a file."""

from __future__ import annotations

import importlib
import pkgutil

import mailer

#: Asked to import what is not there, or what starts something.
_NOT = ("mailer.django", "mailer.fixtures", "mailer.__main__", "mailer.sink.__main__")

for _found in pkgutil.walk_packages(mailer.__path__, "mailer."):
    if not _found.name.startswith(_NOT):
        importlib.import_module(_found.name)

for _name in (
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.thread",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "tests.faults.embedded_run",
    "uvloop",
):
    importlib.import_module(_name)
