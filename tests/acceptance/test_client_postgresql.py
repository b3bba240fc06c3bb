"""One PostgreSQL database for an application's own tables and for its mail."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session

from mailer import Mailer
from mailer.errors import ConfigError, IdempotencyConflict, UnknownMessage
from mailer.message import State
from tests.ledgers import postgres_database
from tests.servers import PATIENCE, wait_until
from tests.working import environment

PROGRAMS = Path(__file__).parents[1] / "programs"
WISH = {"sender": "Acme <a@acme.example>", "subject": "Hello", "text": "How are you?"}


@pytest.fixture
def url():
    with postgres_database() as url:
        yield url


@pytest.fixture
def mailer(url, tmp_path, monkeypatch):
    """Delivers in the background, into files."""
    (tmp_path / "mailer.toml").write_text(f'ledger = "{url}"\n[backends.main]\nurl = "file:out"\n')
    monkeypatch.chdir(tmp_path)
    with Mailer() as mailer:
        yield mailer


@pytest.fixture
def own(url):
    """The application's own connection."""
    with closing(psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))) as connection:
        connection.execute("CREATE TABLE orders (id int)")
        connection.commit()
        yield connection


def arrived(tmp_path):
    return len(list((tmp_path / "out").glob("new/*")))


def test_a_message_belongs_to_the_transaction_it_was_written_in(mailer, own, tmp_path):
    own.execute("INSERT INTO orders VALUES (1)")
    kept = mailer.send(to="kept@example.org", **WISH, connection=own)
    with pytest.raises(UnknownMessage):
        mailer.status(kept.id)  # nobody else sees it yet
    own.commit()
    assert mailer.status(kept.id).state in (State.PENDING, State.CLAIMED, State.SENDING, State.ACCEPTED)
    gone = mailer.send(to="gone@example.org", **WISH, connection=own)
    own.rollback()

    wait_until(lambda: mailer.status(kept.id).state is State.ACCEPTED, "the pump")

    with pytest.raises(UnknownMessage):
        mailer.status(gone.id)
    mailer.close()
    assert arrived(tmp_path) == 1


def test_a_key_counts_in_both_ways_of_handing_over(mailer, own):
    wish = WISH | {"to": "ada@example.org"}
    first = mailer.send(**wish, idempotency_key="k", connection=own)
    assert mailer.send(**wish, idempotency_key="k", connection=own) == type(first)(first.id, created=False)
    with pytest.raises(IdempotencyConflict):
        mailer.send(**wish | {"subject": "Other"}, idempotency_key="k", connection=own)
    own.commit()
    wait_until(lambda: mailer.status(first.id).state is State.ACCEPTED, "the pump")

    assert mailer.send(**wish, idempotency_key="k", connection=own).id == first.id
    assert mailer.send(**wish, idempotency_key="k").id == first.id


def test_sqlalchemys_connection_and_session(mailer, url, tmp_path):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        mailer.send(to="ada@example.org", **WISH, connection=connection)
    with Session(engine) as session, session.begin():
        mailer.send(to="bob@example.org", **WISH, connection=session)
    engine.dispose()

    wait_until(lambda: arrived(tmp_path) == 2, "both")


def test_djangos_connection_with_commit_rollback_and_savepoint(mailer, own, url, tmp_path):
    about = make_url(url)
    program = [sys.executable, PROGRAMS / "django_orders.py", about.host, str(about.port), about.database]
    done = subprocess.run(
        program,
        check=False,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    kept, rolled_back, inner, outer = json.loads(done.stdout)

    wait_until(lambda: mailer.status(kept).state is mailer.status(outer).state is State.ACCEPTED, "both")
    for gone in (rolled_back, inner):
        with pytest.raises(UnknownMessage):
            mailer.status(gone)
    assert arrived(tmp_path) == 2
    assert sorted(own.execute("SELECT id FROM orders").fetchall()) == [(1,), (4,)]


def test_one_that_was_committed_can_still_be_cancelled(mailer, own):
    mailer.close()  # nobody collects
    with Mailer(deliver="workers") as other:
        receipt = other.send(to="ada@example.org", **WISH, connection=own)
        own.commit()

        assert other.status(receipt.id).state is State.PENDING
        assert other.cancel(receipt.id)
        with pytest.raises(UnknownMessage):
            other.status(receipt.id)


def test_a_ledger_elsewhere_is_refused(tmp_path, monkeypatch, own):
    monkeypatch.chdir(tmp_path)
    other = f"sqlite:///{tmp_path}/mailer.db"
    with (
        Mailer(ledger=other, backend="memory://x", deliver="workers") as elsewhere,
        pytest.raises(ConfigError, match="PostgreSQL"),
    ):
        elsewhere.send(to="ada@example.org", **WISH, connection=own)
