"""The double for applications' tests: it takes what the real box takes, refuses what that refuses."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mailer import Attachment, Mailer, Message
from mailer.errors import IdempotencyConflict, MissingData, UnknownMessage
from mailer.fixtures import mailer_outbox  # noqa: F401 - found by its entry point where it is installed
from mailer.message import State
from mailer.testing import outbox
from tests.unit.client.conftest import DATA

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["ledger", "double"])
def anywhere(request, site):
    """A Mailer over either kind of box, from which nothing leaves."""
    with Mailer(deliver="workers") as mailer:
        if request.param == "ledger":
            yield mailer
        else:
            with outbox():
                yield mailer


def test_a_message_can_be_asked_about(anywhere):
    receipt = anywhere.send("receipt", to="Ada <ada@example.org>", data=DATA, tags=["t"], metadata={"k": "v"})

    status = anywhere.status(receipt.id)

    assert (status.id, status.state, status.to, status.template) == (
        receipt.id,
        State.PENDING,
        "ada@example.org",
        "receipt",
    )
    assert (status.tags, status.metadata, status.attempts) == (("t",), {"k": "v"}, ())
    assert status.message_id == f"<{receipt.id}@acme.example>"


def test_a_key_is_kept(anywhere):
    wish = {"to": "ada@example.org", "data": DATA}
    first = anywhere.send("receipt", **wish, idempotency_key="k")

    assert anywhere.send("receipt", **wish, idempotency_key="k").id == first.id
    assert anywhere.send("receipt", **wish, idempotency_key="k", stream="bulk").created
    with pytest.raises(IdempotencyConflict):
        anywhere.send("receipt", to="bob@example.org", data=DATA, idempotency_key="k")


def test_a_lot_is_taken_whole_or_not_at_all(anywhere):
    good = Message("receipt", "ada@example.org", DATA, idempotency_key="lot")
    with pytest.raises(MissingData):
        anywhere.send_many([good, Message("receipt", "bob@example.org")])

    assert anywhere.send_many([good])[0].created
    assert anywhere.send_many([]) == []


def test_what_waits_can_be_cancelled(anywhere):
    receipt = anywhere.send("receipt", to="ada@example.org", data=DATA)

    assert anywhere.cancel(receipt.id)
    assert anywhere.status(receipt.id).state is State.CANCELLED
    assert not anywhere.cancel(receipt.id)


def test_an_unknown_id_is_said_to_be_unknown(anywhere):
    for ask in (anywhere.status, anywhere.cancel):
        with pytest.raises(UnknownMessage, match="'x'"):
            ask("x")


def test_the_fixture_shows_what_would_have_gone_out(site, mailer_outbox):  # noqa: F811 - pytest's way
    Mailer().send(
        "receipt", to="ada@example.org", bcc="bob@example.org", data=DATA, attachments=[Attachment("a", b"b")]
    )

    (sent,) = mailer_outbox.messages
    assert sent.to == ("ada@example.org", "bob@example.org")
    assert (sent.template, sent.data, sent.subject) == ("receipt", DATA, "Your order 7")
    assert sent.text == "Dear customer, you paid 12.50.\n"
    assert sent.html is None
    assert [part.get_filename() for part in sent.message.iter_attachments()] == ["a"]
    assert not (site.folder / "mailer.db").exists()
    mailer_outbox.clear()
    assert mailer_outbox.messages == []


def test_pytest_finds_the_fixture(tmp_path):
    plugins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert hasattr(importlib.import_module(plugins["mailer"]), "mailer_outbox")
    (tmp_path / "test_shop.py").write_text(
        "from mailer import Mailer\n"
        "def test_welcome(mailer_outbox):\n"
        "    Mailer().send(to='a@example.org', sender='s@acme.example', subject='Hi', text='Welcome')\n"
        "    assert [m.subject for m in mailer_outbox.messages] == ['Hi']\n"
    )
    installed = importlib.metadata.entry_points(group="pytest11", name="mailer")
    plugin = () if installed else ("-p", plugins["mailer"])  # a checkout that nobody installed
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout
