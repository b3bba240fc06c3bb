"""The sink against an ordinary client: what it takes, offers, refuses, and how it breaks off."""

import asyncio
import json
import signal
import smtplib
import ssl
import subprocess
import sys
from contextlib import suppress

import pytest

from mailer.errors import ConfigError
from mailer.sink.config import SinkConfig
from mailer.sink.server import Sink
from tests.servers import PATIENCE, wait_until

SENDER = "news@acme.example"
TEXT = b"Subject: x\r\n\r\n.leading dot\r\n..\r\nbye\r\n"


def client(sink) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE)


def send(sink, *recipients: str, data: bytes = TEXT, options: tuple[str, ...] = ()) -> dict:
    with client(sink) as smtp:
        return smtp.sendmail(SENDER, recipients or ["ada@example.org"], data, options)


def rule(**values: object) -> str:
    return "\n".join(["[[rule]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def test_a_message_is_kept_as_it_was_meant(mailer_sink):
    sink = mailer_sink()
    send(sink, "ada@example.org", "bob@example.org", options=["BODY=8BITMIME"])

    (entry,) = sink.index()
    (message,) = sink.messages()

    assert message.data == TEXT
    assert message.recipients == ("ada@example.org", "bob@example.org")
    assert entry["file"] == "00000001.eml"
    assert entry["sender"] == SENDER
    assert "BODY=8BITMIME" in entry["mail_options"].upper()
    assert entry["size"] == len(TEXT)
    assert (sink.store / "00000001.eml").stat().st_mode & 0o077 == 0
    assert (sink.store / "index.jsonl").stat().st_mode & 0o077 == 0


def test_names_go_on_where_the_last_run_ended(mailer_sink, tmp_path):
    for _ in range(2):
        sink = mailer_sink(store=str(tmp_path / "kept"))
        send(sink)
        sink.stop()
    assert sorted(path.name for path in (tmp_path / "kept").glob("*.eml")) == ["00000001.eml", "00000002.eml"]
    assert len((tmp_path / "kept" / "index.jsonl").read_text().splitlines()) == 2


def test_a_summary_at_the_end(mailer_sink):
    sink = mailer_sink(rule(at="rcpt", match="*@gone.example", reply="550 5.1.1 no such user"), store=None)
    send(sink, "ada@example.org", "x@gone.example")
    summary = sink.stop()
    assert summary["messages"] == summary["recipients"] == 1
    assert summary["refused"] == {"rcpt 550": 1}
    assert summary["octets"] == len(TEXT)


@pytest.mark.parametrize(
    ("at", "error"),
    [
        ("connect", smtplib.SMTPConnectError),
        ("mail", smtplib.SMTPSenderRefused),
        ("rcpt", smtplib.SMTPRecipientsRefused),
        ("data", smtplib.SMTPDataError),
        ("dot", smtplib.SMTPDataError),
    ],
)
def test_a_reply_at_each_phase(mailer_sink, at, error):
    sink = mailer_sink(rule(at=at, reply="451 4.7.1 not now", times=1))
    with pytest.raises(error) as caught:
        send(sink)
    assert "451" in str(caught.value)
    send(sink)
    assert sink.count() == 1


@pytest.mark.parametrize(
    "drop", ["connect", "ehlo", "mail", "rcpt", "data", "before-dot", "dot", "after-dot"]
)
def test_a_drop_at_each_phase(mailer_sink, drop):
    sink = mailer_sink(rule(drop=drop, times=1))
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(sink)
    taken = 1 if drop == "after-dot" else 0
    assert sink.count() == taken
    send(sink)
    assert sink.count() == taken + 1
    assert sink.stop()["dropped"] == {drop: 1}


def test_a_reply_may_come_before_the_drop(mailer_sink):
    sink = mailer_sink(rule(at="rcpt", drop="rcpt", reply="450 4.2.1 bye"))
    with client(sink) as smtp:
        smtp.ehlo()
        smtp.mail(SENDER)
        assert smtp.rcpt("ada@example.org")[0] == 450
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()


def test_421_closes(mailer_sink):
    sink = mailer_sink(rule(at="mail", reply="421 4.3.2 shutting down"))
    with client(sink) as smtp:
        smtp.ehlo()
        assert smtp.mail(SENDER)[0] == 421
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()


def test_a_2xx_of_the_rule_is_still_taken(mailer_sink):
    sink = mailer_sink(rule(at="dot", reply="250 2.6.0 queued as 4711"))
    with client(sink) as smtp:
        smtp.ehlo()
        smtp.mail(SENDER)
        smtp.rcpt("ada@example.org")
        assert smtp.data(TEXT) == (250, b"2.6.0 queued as 4711")
    assert sink.count() == 1


def test_only_who_matches_is_hit(mailer_sink):
    sink = mailer_sink(
        rule(at="rcpt", match="*@gone.example", reply="550 5.1.1 no")
        + rule(at="dot", match="bob@*", reply="552 5.2.2 full")
    )
    assert list(send(sink, "ada@example.org", "x@gone.example")) == ["x@gone.example"]
    with pytest.raises(smtplib.SMTPDataError, match="552"):
        send(sink, "bob@example.org")
    assert sink.recipients() == ["ada@example.org"]


def test_greylisting_lets_each_one_through_later(mailer_sink):
    sink = mailer_sink(rule(at="rcpt", reply="451 4.7.1 greylisted", times=1))
    for address in ("ada@example.org", "bob@example.org"):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(sink, address)
        send(sink, address)
    assert sink.recipients() == ["ada@example.org", "bob@example.org"]


def test_enough_for_one_connection(mailer_sink):
    sink = mailer_sink(messages_per_connection=2)
    with client(sink) as smtp:
        smtp.sendmail(SENDER, ["a@example.org"], TEXT)
        smtp.sendmail(SENDER, ["b@example.org"], TEXT)
        with pytest.raises(smtplib.SMTPSenderRefused, match="421"):
            smtp.sendmail(SENDER, ["c@example.org"], TEXT)
    assert sink.count() == 2


def test_too_many_connections(mailer_sink):
    sink = mailer_sink(max_connections=1)
    with client(sink) as first:
        with pytest.raises(smtplib.SMTPConnectError, match="421"):
            client(sink)
        first.sendmail(SENDER, ["a@example.org"], TEXT)

    def let_in() -> bool:
        with suppress(smtplib.SMTPConnectError):  # its goodbye is heard before its place is free
            return send(sink) == {}
        return False

    wait_until(let_in, "the place of the first to be free")


def test_too_many_recipients(mailer_sink):
    sink = mailer_sink(max_recipients=2)
    refused = send(sink, "a@example.org", "b@example.org", "c@example.org")
    assert refused == {"c@example.org": (452, b"4.5.3 Too many recipients")}


def test_size_is_offered_and_held(mailer_sink):
    sink = mailer_sink(max_size=1000)
    with client(sink) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features["size"] == "1000"
        assert smtp.mail(SENDER, ["SIZE=1001"])[0] == 552
        smtp.mail(SENDER)
        smtp.rcpt("ada@example.org")
        assert smtp.data(b"x\r\n" * 100_000)[0] == 552
        smtp.sendmail(SENDER, ["ada@example.org"], b"x" * 900 + b"\r\n")
    assert sink.count() == 1


@pytest.mark.parametrize(
    ("extension", "option"), [("DSN", "RET=HDRS"), ("8BITMIME", "BODY=8BITMIME"), ("SIZE", "SIZE=1")]
)
def test_what_is_not_offered_is_not_understood(mailer_sink, extension, option):
    with client(mailer_sink(without=[extension])) as smtp:
        smtp.ehlo()
        assert extension.lower() not in smtp.esmtp_features
        assert smtp.mail(SENDER, [option])[0] == 555
    with client(mailer_sink()) as smtp:
        smtp.ehlo()
        assert smtp.mail(SENDER, [option])[0] == 250


def test_addresses_in_utf8_need_the_extension(mailer_sink):
    with client(mailer_sink()) as smtp:
        smtp.ehlo()
        smtp.command_encoding = "utf-8"
        assert smtp.docmd("MAIL", "FROM:<jürgen@example.org>")[0] == 553
        assert smtp.docmd("MAIL", "FROM:<jürgen@example.org> SMTPUTF8")[0] == 250
        assert smtp.docmd("RCPT", "TO:<ünal@example.org> NOTIFY=NEVER")[0] == 250


def test_eight_bits_undeclared_are_noticed(mailer_sink):
    sink = mailer_sink()
    send(sink, data=b"Subject: x\r\n\r\n\xe4\r\n")
    send(sink, data=b"Subject: x\r\n\r\n\xe4\r\n", options=["BODY=8BITMIME"])
    assert sink.stop()["odd"] == {"eight-bit body without BODY=8BITMIME": 1}


def test_order_of_commands(mailer_sink):
    with client(mailer_sink()) as smtp:
        assert smtp.docmd("MAIL", "FROM:<a@example.org>")[0] == 503
        smtp.ehlo()
        assert smtp.docmd("RCPT", "TO:<a@example.org>")[0] == 503
        assert smtp.docmd("DATA")[0] == 503
        assert smtp.docmd("MAIL", "FROM:a@example.org")[0] == 501
        assert smtp.docmd("MAIL", "FROM:<>")[0] == 250
        assert smtp.docmd("MAIL", "FROM:<>")[0] == 503
        assert smtp.docmd("RCPT", "TO:<>")[0] == 501
        assert smtp.docmd("DATA")[0] == 554
        assert smtp.docmd("NOPE")[0] == 500
        assert smtp.docmd("VRFY", "a")[0] == 252


def trusting(certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.cert))


def test_starttls(mailer_sink, certificate):
    files = certificate("localhost", "127.0.0.1")
    sink = mailer_sink(starttls=True, certificate=str(files.cert), key=str(files.key))
    with client(sink) as smtp:
        smtp.starttls(context=trusting(files))
        smtp.ehlo()
        assert not smtp.has_extn("starttls")
        smtp.sendmail(SENDER, ["ada@example.org"], TEXT)
    assert sink.messages()[0].data == TEXT
    assert sink.stop()["encrypted"] == 1


def test_starttls_with_a_certificate_of_its_own(mailer_sink):
    with client(mailer_sink(starttls=True)) as smtp, pytest.raises(ssl.SSLCertVerificationError):
        smtp.starttls(context=ssl.create_default_context())


def test_starttls_only_where_it_is_offered(mailer_sink):
    with client(mailer_sink()) as smtp:
        smtp.ehlo()
        assert smtp.docmd("STARTTLS")[0] == 502


def test_tls_from_the_first_octet(mailer_sink, certificate):
    files = certificate("localhost", "127.0.0.1")
    sink = mailer_sink(tls=True, certificate=str(files.cert), key=str(files.key))
    with smtplib.SMTP_SSL("127.0.0.1", sink.port, timeout=PATIENCE, context=trusting(files)) as smtp:
        smtp.sendmail(SENDER, ["ada@example.org"], TEXT)
    assert sink.count() == 1


def log_in(sink, mechanism: str, user: str, password: str) -> int:
    """The code of the last reply; smtplib answers challenges itself."""
    with client(sink) as smtp:
        smtp.ehlo()
        assert mechanism in smtp.esmtp_features["auth"]
        smtp.user, smtp.password = user, password
        method = getattr(smtp, "auth_" + mechanism.lower().replace("-", "_"), None)
        try:
            return smtp.auth(mechanism, method or (lambda challenge=None: xoauth2(user, password)))[0]
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code


def xoauth2(user: str, token: str) -> str:
    return f"user={user}\x01auth=Bearer {token}\x01\x01"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"])
def test_a_login_is_checked(mailer_sink, mechanism):
    sink = mailer_sink(auth=True, user="me", password="right")
    assert log_in(sink, mechanism, "me", "right") == 235
    if mechanism != "XOAUTH2":  # smtplib confirms the refusal with the token again
        assert log_in(sink, mechanism, "me", "wrong") == 535
        assert log_in(sink, mechanism, "you", "right") == 535


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"])
def test_any_login_will_do(mailer_sink, mechanism):
    sink = mailer_sink(auth=True)
    assert log_in(sink, mechanism, "any", "thing") == 235


def test_a_refused_token_is_explained_first(mailer_sink):
    with client(mailer_sink(auth=True, user="me", password="right")) as smtp:
        smtp.ehlo()
        smtp.docmd("AUTH", "XOAUTH2")
        assert smtp.docmd("dXNlcj1tZQFhdXRoPUJlYXJlciB3cm9uZwEB")[0] == 334
        assert smtp.docmd("")[0] == 535
        assert smtp.docmd("AUTH", "PLAIN =")[0] == 535
        assert smtp.docmd("AUTH", "PLAIN")[0] == 334
        assert smtp.docmd("*")[0] == 501
        assert smtp.docmd("AUTH", "NTLM")[0] == 504


def test_a_login_can_be_required(mailer_sink):
    sink = mailer_sink(auth=True, require_auth=True)
    with client(sink) as smtp:
        smtp.ehlo()
        assert smtp.mail(SENDER)[0] == 530
        smtp.login("any", "thing")
        smtp.sendmail(SENDER, ["ada@example.org"], TEXT)
    assert sink.count() == 1


def test_no_password_in_clear_where_encryption_is_offered(mailer_sink):
    with client(mailer_sink(auth=True, starttls=True)) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538


def test_a_login_can_be_refused_by_rule(mailer_sink):
    sink = mailer_sink(rule(at="auth", reply="454 4.7.0 try again", times=1), auth=True)
    assert log_in(sink, "PLAIN", "a", "b") == 454
    assert log_in(sink, "PLAIN", "a", "b") == 235


def test_a_port_in_use_is_explained(mailer_sink, tmp_path):
    file = tmp_path / "sink.toml"
    file.write_text(f"[sink]\nport = {mailer_sink().port}\n")
    second = subprocess.run(
        [sys.executable, "-m", "mailer.sink", file],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert second.returncode == 1
    assert second.stderr.startswith("cannot listen on 127.0.0.1:")
    assert second.stderr.endswith(": Address already in use\n")
    assert "Traceback" not in second.stderr


def test_a_port_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="from 0 to 65535"):
        asyncio.run(Sink(SinkConfig(port=80_000)).start())


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_it_with_a_summary(mailer_sink, sign):
    sink = mailer_sink()
    send(sink)
    sink.process.stop(sign)
    last = sink.out.read_text().splitlines()[-1]
    assert json.loads(last)["messages"] == 1


async def test_in_this_process():
    from mailer.sink.config import SinkConfig
    from mailer.sink.server import Sink

    taken = []
    async with Sink(SinkConfig(port=0), on_message=taken.append) as sink:
        await asyncio.to_thread(send, sink)
        assert sink.received.messages == 1
    await sink.stop()
    assert [message.data for message in taken] == [TEXT]
    assert sink.received.open == 0
