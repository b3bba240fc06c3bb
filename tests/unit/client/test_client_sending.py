"""From ``Mailer().send`` to the message that goes out, with nothing installed but SQLite."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from mailer import Attachment, Mailer, Message
from mailer.errors import ConfigError, UnknownMessage
from mailer.message import State
from tests.servers import wait_until
from tests.unit.client.conftest import DATA, in_an_application

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def test_a_template_and_its_data_arrive(site, mailer):
    receipt = mailer.send("receipt", to="Ada L <ada@example.org>", data=DATA)
    mailer.close()

    (message,) = site.sent()
    assert message["From"] == "Acme Shop <shop@acme.example>"
    assert message["To"] == "Ada L <ada@example.org>"
    assert message["Reply-To"] == "help@acme.example"
    assert message["Subject"] == "Your order 7"
    assert message["Message-ID"] == f"<{receipt.id}@acme.example>"
    assert message.get_content() == "Dear customer, you paid 12.50.\n"
    assert mailer.status(receipt.id).state is State.ACCEPTED


def test_everything_that_one_message_can_have_of_its_own(site, mailer):
    mailer.send(
        "receipt",
        to=["ada@example.org", "Bob <bob@example.org>"],
        data=DATA,
        sender='"Acme, Ltd" <orders@acme.example>',
        subject="{{ literal }}",
        cc="carl@example.org",
        bcc=["dora@example.org"],
        reply_to="reply@acme.example",
        headers={"X-Shop": "7", "In-Reply-To": "<a@b.example>"},
        language="de",
        attachments=[Attachment("Rechnung Müller.pdf", b"%PDF-1.7"), Attachment("a.bin", b"\0\xff", "x-a/b")],
    )
    mailer.close()

    (message,) = site.sent()
    assert message["From"].addresses[0].display_name == "Acme, Ltd"
    assert message["To"] == "ada@example.org, Bob <bob@example.org>"
    assert (message["Cc"], message["Bcc"]) == ("carl@example.org", None)
    assert message["Reply-To"] == "reply@acme.example"
    assert message["Subject"] == "{{ literal }}"
    assert (message["X-Shop"], message["In-Reply-To"]) == ("7", "<a@b.example>")
    assert message.get_body().get_content() == "Guten Tag, Sie zahlten 12.50.\n"
    first, second = message.iter_attachments()
    assert (first.get_filename(), first.get_content_type()) == ("Rechnung Müller.pdf", "application/pdf")
    assert first.get_content() == b"%PDF-1.7"
    assert (second.get_content_type(), second.get_payload(decode=True)) == ("x-a/b", b"\0\xff")


def test_content_without_a_template_is_literal(site, mailer):
    mailer.send(
        to="ada@example.org",
        sender="Acme <a@acme.example>",
        subject="{{ 7 * 7 }}",
        html='<p>{% if %} <img src="cid:logo"></p>',
        text="{{ x }}\n",
        attachments=[Attachment("logo.png", PNG, content_id="logo")],
    )
    mailer.send(to="bob@example.org", sender="a@acme.example", subject="S", html="<p>Only <b>HTML</b></p>")
    mailer.close()

    both, html = site.sent("ada@example.org", "bob@example.org")
    assert both["Subject"] == "{{ 7 * 7 }}"
    assert both.get_body(("html",)).get_content() == '<p>{% if %} <img src="cid:logo"></p>\n'
    assert both.get_body(("plain",)).get_content() == "{{ x }}\n"
    assert [part["Content-ID"] for part in both.walk() if part["Content-ID"]] == ["<logo>"]
    assert html.get_body(("plain",)).get_content().strip() == "Only HTML"


def test_many_are_stored_together(site, mailer):
    wishes = [Message("receipt", f"user{n}@example.org", DATA) for n in range(20)]

    receipts = mailer.send_many(wishes)
    mailer.close()

    assert len({receipt.id for receipt in receipts}) == 20
    assert {message["To"] for message in site.sent()} == {wish.to for wish in wishes}


def test_a_key_stands_for_one_message(site, mailer):
    first = mailer.send("receipt", to="ada@example.org", data=DATA, idempotency_key="order-7")
    second = mailer.send("receipt", to="ada@example.org", data=DATA, idempotency_key="order-7")
    mailer.close()

    assert (second.id, first.created, second.created) == (first.id, True, False)
    assert len(site.sent()) == 1


def test_later_means_later_and_can_be_taken_back(stored):
    at = datetime.now(UTC) + timedelta(hours=1)
    receipt = stored.send("receipt", to="ada@example.org", data=DATA, send_at=at)

    status = stored.status(receipt.id)
    assert (status.state, status.due_at) == (State.PENDING, at)
    assert stored.cancel(receipt.id)
    assert stored.status(receipt.id).state is State.CANCELLED
    assert not stored.cancel(receipt.id)


def test_scheduled_messages_go_when_their_time_comes(site, mailer):
    receipt = mailer.send(
        "receipt", to="ada@example.org", data=DATA, send_at=datetime.now(UTC) + timedelta(seconds=1)
    )

    wait_until(lambda: mailer.status(receipt.id).state is State.ACCEPTED, "a scheduled message")


def test_what_came_too_late_is_not_sent(site, stored):
    receipt = stored.send("receipt", to="ada@example.org", data=DATA, expires_in=1e-6)
    stored.close()

    with Mailer() as mailer:
        other = mailer.send("receipt", to="bob@example.org", data=DATA)  # of the same campaign
        wait_until(lambda: mailer.status(receipt.id).state is State.EXPIRED, "the end of its time")
        wait_until(lambda: mailer.status(other.id).state is State.ACCEPTED, "the other")


def test_what_another_process_left_behind_is_delivered(site, stored):
    receipt = stored.send("receipt", to="ada@example.org", data=DATA)
    stored.close()

    with Mailer() as mailer:
        mailer.send("receipt", to="bob@example.org", data=DATA)
        wait_until(lambda: mailer.status(receipt.id).state is State.ACCEPTED, "what was left behind")


def test_secret_data_is_gone_once_it_is_accepted(site, mailer):
    receipt = mailer.send("reset", to="ada@example.org", data={"token": "s3cr3t-t0ken"}, tags=["reset"])
    mailer.close()

    assert "s3cr3t-t0ken" in site.sent()[0].get_content()
    with sqlite3.connect(site.folder / "mailer.db") as database:
        kept = "".join(row[0] for row in database.execute("SELECT cells FROM recipient"))
    database.close()
    assert "s3cr3t" not in kept
    status = mailer.status(receipt.id)
    assert (status.state, status.tags, status.template) == (State.ACCEPTED, ("reset",), "reset")


def test_every_attempt_is_told(site, mailer_sink):
    sink = mailer_sink('[[rule]]\nat = "rcpt"\nreply = "550 5.1.1 no such user"\n')
    own = Mailer(backend=sink.url)
    receipt = own.send("receipt", to="ada@example.org", data=DATA, tags=["t"], metadata={"k": "v"})
    own.close()

    status = own.status(receipt.id)
    with pytest.raises(UnknownMessage, match="nonsense"):
        own.status("nonsense")
    own.close()

    assert (status.state, status.to, status.tags, status.metadata) == (
        State.REJECTED,
        "ada@example.org",
        ("t",),
        {"k": "v"},
    )
    (only,) = status.attempts
    assert (only.number, only.phase, only.code, only.enhanced) == (1, "rcpt", 550, "5.1.1")
    assert "no such user" in only.text
    assert status.reason


def test_templates_are_read_again_when_they_change(site, mailer, monkeypatch):
    monkeypatch.setattr("mailer.outbox.kinds.LOOK_SECONDS", 0.0)
    mailer.send("receipt", to="ada@example.org", data=DATA)
    (site.folder / "templates/receipt/body.txt").write_text("Something else.\n")

    mailer.send("receipt", to="bob@example.org", data=DATA)
    mailer.close()

    (message,) = site.sent("bob@example.org")
    assert message.get_content() == "Something else.\n"


def test_after_a_fork_the_child_sends_by_itself(site, mailer):
    mailer.send("receipt", to="parent@example.org", data=DATA)

    script = f"""
import os
from mailer import Mailer
mailer = Mailer()
mailer.send("receipt", to="before@example.org", data={DATA!r})
child = os.fork()
mailer.send("receipt", to="child@example.org" if not child else "after@example.org", data={DATA!r})
mailer.close()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = in_an_application(site, script)
    mailer.close()

    assert done.stderr.decode() == ""
    assert {message["To"].split("@")[0] for message in site.sent()} == {"parent", "before", "child", "after"}


def test_children_send_that_were_forked_while_other_threads_did(site, mailer):
    """Before forks waited, a third of the children hung: another thread had locked SQLite's memory."""
    mailer.send("receipt", to="parent@example.org", data=DATA)
    script = f"""
import os, threading
from mailer import Mailer
mailer, stop = Mailer(deliver="workers"), threading.Event()
def work():
    while not stop.is_set():
        mailer.send("receipt", to="thread@example.org", data={DATA!r})
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for n in range(6):
    if not (child := os.fork()):
        receipt = mailer.send("receipt", to=f"child{{n}}@example.org", data={DATA!r})
        os._exit(os.write(1, receipt.id.encode() + bytes(1)) == 0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
stop.set()
for thread in threads:
    thread.join()
mailer.close()
"""
    done = in_an_application(site, script)

    assert done.stderr.decode() == ""
    stored = {mailer.status(id_).to for id_ in done.stdout.decode().split(chr(0)) if id_}
    assert stored == {f"child{n}@example.org" for n in range(6)}


def test_settings_may_come_as_arguments(site, tmp_path):
    ledger = f"sqlite:///{tmp_path}/other.db"
    with Mailer(ledger=ledger, backend="file:elsewhere", templates="templates") as own:
        own.send("receipt", to="ada@example.org", data=DATA)

    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "mailer.db").exists()
    with pytest.raises(ConfigError, match="deliver"):
        Mailer(deliver="somehow")


def test_its_campaign_is_paused_and_resumed_like_any_other(site, mailer):
    first = mailer.send("receipt", to="ada@example.org", data=DATA)
    wait_until(lambda: mailer.status(first.id).state is State.ACCEPTED, "the first")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mailer", *words]
        return subprocess.run(command, cwd=site.folder, capture_output=True, text=True, check=True)

    (status,) = run("status", "--json").stdout.splitlines()
    slug = json.loads(status)["id"]
    run("pause", slug)
    second = mailer.send("receipt", to="bob@example.org", data=DATA)
    assert mailer.status(second.id).state is State.PENDING

    assert "the application that sends it" in run("resume", slug).stderr
    wait_until(lambda: mailer.status(second.id).state is State.ACCEPTED, "the second")


def test_what_a_dead_worker_left_may_be_asked_again_where_the_provider_knows_keys(site):
    (site.folder / "mailer.toml").write_text('[backends.main]\nurl = "brevo://key@"\n')
    with Mailer(deliver="workers") as mailer:
        mailer.send("receipt", to="ada@example.org", data=DATA)

    ((spec,),) = sqlite3.connect(site.folder / "mailer.db").execute("SELECT spec FROM campaign")
    assert json.loads(spec)["knows_keys"]["backend"] == "main"
