"""What a sensitive message said is nowhere in the ledger when it has ended, however it ended."""

from __future__ import annotations

import logging
from base64 import b64encode
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from mailer import Attachment, Mailer
from mailer.ledger import open_ledger
from mailer.message import FINAL, State
from tests.ledgers import postgres_database
from tests.servers import wait_until

MARKER = "q7Zk-n0body-may-read-this"
#: As it lies there: plain, and inside an attachment; in bytes it would be hexadecimal.
TRACES = (MARKER.encode(), b64encode(MARKER.encode())[:-2], MARKER.encode().hex().encode())

TEMPLATE = """
from = "Acme <security@acme.example>"
subject = "Code {{ code }}"
sensitive = true
"""
LITERAL = {"sender": "Acme <a@acme.example>", "subject": MARKER, "text": MARKER, "html": MARKER}
ENDS = {
    "accepted@example.org": State.ACCEPTED,
    "refused@example.org": State.REJECTED,
    "suppressed@example.org": State.SUPPRESSED,
    "expired@example.org": State.EXPIRED,
    "cancelled@example.org": State.CANCELLED,
}
REFUSES = """
[[rule]]
at = "rcpt"
match = "refused@*"
reply = "550 5.1.1 no such user"
"""


@contextmanager
def file_ledger(folder):
    yield f"sqlite:///{folder}/ledger/mailer.db"


def database_ledger(_):
    return postgres_database()


@pytest.fixture(params=[file_ledger, database_ledger])
def url(request, tmp_path, monkeypatch, mailer_sink):
    with request.param(tmp_path) as url:
        (tmp_path / "ledger").mkdir()
        (tmp_path / "templates/code").mkdir(parents=True)
        (tmp_path / "templates/code/mail.toml").write_text(TEMPLATE)
        (tmp_path / "templates/code/body.txt").write_text("Your code is {{ code }}.\n")
        backend = mailer_sink(REFUSES).url
        (tmp_path / "mailer.toml").write_text(f'ledger = "{url}"\n[backends.main]\nurl = "{backend}"\n')
        monkeypatch.chdir(tmp_path)
        yield url


def kept(url, folder):
    """All that the ledger holds, after its log was written back."""
    if url.startswith("sqlite"):
        return b"".join(file.read_bytes() for file in (folder / "ledger").iterdir())
    with closing(psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'mailer' ORDER BY 1"
        ).fetchall()
        found = [
            row
            for (table,) in tables
            for (row,) in connection.execute(f'SELECT t::text FROM mailer."{table}" t')
        ]
    return "\n".join(found).encode()


def traces(url, folder):
    everything = kept(url, folder)
    return [trace for trace in TRACES if trace in everything]


def code_to(mailer, to, **more):
    """With attachments small and large: a large one lies on pages of its own."""
    files = [Attachment("small.txt", MARKER.encode()), Attachment("large.txt", MARKER.encode() * 2000)]
    about = {"data": {"code": MARKER}, "attachments": files, "tags": ["code"], "metadata": {"shop": "7"}}
    return mailer.send("code", to=to, **(about | more))


def hand_over_one_of_each(mailer):
    """What is to be cancelled is not due; all others are sent by the next Mailer."""
    late = datetime.now(UTC) + timedelta(days=1)
    more = {"expired@example.org": {"expires_in": 0.001}, "cancelled@example.org": {"send_at": late}}
    receipts = [code_to(mailer, to, idempotency_key=to, **more.get(to, {})) for to in ENDS]
    literal = mailer.send(to="accepted@example.org", **LITERAL, sensitive=True)
    apart = mailer.send(
        to="b@example.org", **LITERAL | {"sender": "a@apart.example"}, sensitive=True, send_at=late
    )
    return [one.id for one in receipts], literal.id, apart.id


def test_whatever_becomes_of_it_nothing_is_left_of_what_it_said(url, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with closing(open_ledger(url)) as ledger:
        ledger.suppressions.add("suppressed@example.org")
        with Mailer(deliver="workers") as stored:
            ids, literal, apart = hand_over_one_of_each(stored)
            assert stored.cancel(ids[-1])
        (other,) = [one for one in ledger.campaigns.list() if "apart" in one.slug]
        ledger.campaigns.cancel(other.id)
    before = traces(url, tmp_path)
    assert before == [TRACES[0], TRACES[1]], "else this test looks in the wrong place"

    with Mailer() as mailer:
        # It takes over what lies there.
        now = [
            mailer.send(to="ada@example.org", **LITERAL, sensitive=True),
            code_to(mailer, "ada@example.org"),
        ]
        everything = [*ids, literal]
        wanted = [*everything, *(one.id for one in now)]
        wait_until(lambda: all(mailer.status(id_).state in FINAL for id_ in wanted), "all of them")
        states = [mailer.status(id_).state for id_ in everything]
        about = mailer.status(ids[0])
        again = code_to(mailer, "accepted@example.org", idempotency_key="accepted@example.org")
        assert mailer.status(apart).state is State.CANCELLED

    assert states == [*ENDS.values(), State.ACCEPTED]
    assert (about.template, about.tags, about.metadata) == ("code", ("code",), {"shop": "7"})
    assert (again.id, again.created) == (ids[0], False)
    assert traces(url, tmp_path) == []
    assert MARKER not in caplog.text


@pytest.mark.parametrize("url", [database_ledger], indirect=True)
def test_nor_of_a_message_of_the_applications_own_transaction(url, tmp_path):
    with Mailer() as mailer:
        with closing(psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))) as own:
            receipt = code_to(mailer, "ada@example.org", connection=own, idempotency_key="k")
            own.commit()
        wait_until(lambda: mailer.status(receipt.id).state is State.ACCEPTED, "the pump")
        assert not code_to(mailer, "ada@example.org", idempotency_key="k").created

    assert traces(url, tmp_path) == []
