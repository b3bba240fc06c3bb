"""A newcomer's first minutes: init, check, preview, test, send, demo."""

from __future__ import annotations

import email
import email.policy
import signal

import httpx

from tests.acceptance.conftest import Folder
from tests.servers import PATIENCE, free_port


def test_init_writes_an_example_that_sends(tmp_path):
    here = Folder(tmp_path)
    assert here.mailer("init", "news").code == 0
    news = Folder.__new__(Folder)
    news.path = tmp_path / "news"

    checked = news.mailer("check", "campaign.toml")
    sent = news.mailer("send", "campaign.toml", "--yes")

    assert checked.code == 0, checked.out + checked.err
    assert sent.code == 0, sent.out + sent.err
    assert len(list((news.path / "outbox").rglob("*.eml"))) >= 3
    again = here.mailer("init", "news")
    assert again.code == 2
    assert "nothing was written" in again.err


def test_preview_of_a_row_and_of_a_template(folder):
    shown = folder.mailer("preview", "campaign.toml", "--row", "2")
    assert "Subject: Person 2, your November" in shown.out
    assert "Dear Person 2," in shown.out

    folder.mailer("preview", "campaign.toml", "--email", "person3@example.com", "--eml", "three.eml")
    message = email.message_from_string(folder.read("three.eml"), policy=email.policy.default)
    assert message["To"] == "person3@example.com"

    piped = folder.mailer("preview", "campaign.toml", "--email", "person3@example.com", "--eml", "-")
    assert email.message_from_string(piped.out, policy=email.policy.default)["To"] == "person3@example.com"
    assert not (folder.path / "-").exists()

    folder.write(
        "templates/letter/mail.toml",
        'subject = "Hello"\nfrom = "a@acme.example"\n[sample]\nfirst_name = "Ann"\n',
    )
    assert "Dear Ann," in folder.mailer("preview", "letter").out


def test_test_sends_one_row_to_me_and_leaves_the_campaign_alone(folder, mailer_sink):
    sink = mailer_sink()

    done = folder.mailer(
        "test", "campaign.toml", "--to", "me@acme.example", "--row", "4", "--backend", sink.url
    )

    assert done.code == 0, done.err
    assert sink.recipients() == ["me@acme.example"]
    assert b"Dear Person 4," in sink.messages()[0].data
    assert folder.mailer("status", "--json").out == ""
    to_nobody = folder.mailer("test", "campaign.toml")
    assert (to_nobody.code, "--to me@example.com" in to_nobody.err) == (2, True)


def test_a_relay_has_no_test_mode(folder):
    done = folder.mailer(
        "test", "campaign.toml", "--to", "me@acme.example", "--sandbox", "--backend", "smtp://127.0.0.1:9"
    )
    assert done.code == 2
    assert "it has no test mode; these have one: postmark," in done.err


def test_the_demo_runs_twice(tmp_path):
    here = Folder(tmp_path)
    for _ in range(2):
        done = here.mailer("demo", "--count", "150")

        assert done.code == 0, done.out + done.err
        samples = sorted((tmp_path / "mailer-demo" / "samples").glob("*.eml"))
        assert len(samples) == 3
        assert "results.csv" in done.out
    parts = [
        part.get_content_type()
        for part in email.message_from_bytes(samples[0].read_bytes(), policy=email.policy.default).walk()
    ]
    assert {"text/plain", "text/html", "image/png", "application/pdf"} <= set(parts)


def test_doctor_says_what_answers_and_what_does_not(folder, mailer_sink):
    sink = mailer_sink()
    folder.write(
        "mailer.toml",
        f'[backends.main]\nurl = "{sink.url}"\n[backends.gone]\nurl = "smtp://127.0.0.1:9?tls=none"\n',
    )

    done = folder.mailer("doctor")

    assert done.code == 1
    assert "ok  backend main" in done.out
    assert "WRONG backend gone: 127.0.0.1:9 refuses connections" in done.out


def test_migrate_is_idempotent(folder):
    assert folder.mailer("migrate").code == 0
    assert folder.mailer("migrate").code == 0


def test_the_api_ends_in_good_order(folder):
    port = free_port()
    process = folder.start("serve", "--port", str(port))
    while b"Ctrl-C stops it" not in process.stderr.readline():
        assert process.poll() is None
    httpx.get(f"http://127.0.0.1:{port}/v1/messages", timeout=PATIENCE)  # answered as soon as it serves

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, err
    assert b"Traceback" not in err
