"""What a client is told, and what is in the ledger then."""

from __future__ import annotations

import smtplib
import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import replace

import pytest

from mailer.gateway.transaction import NO_ENTRY
from mailer.sink.certificate import self_signed
from tests.servers import PATIENCE, wait_until
from tests.unit.gateway.conftest import MESSAGE, plain

ENVELOPE = (
    b"EHLO me\r\n",
    b"MAIL FROM:<shop@acme.example>\r\n",
    b"RCPT TO:<ada@example.org>\r\n",
    b"DATA\r\n",
)


def test_a_message_is_stored_byte_by_byte_for_each_recipient(gate):
    door = gate()
    with door.client(door.key("*@acme.example")) as client:
        client.sendmail("shop@acme.example", ["ada@example.org", "bob@Example.org"], MESSAGE)

    rows = door.rows()
    assert sorted(row.to for row in rows) == ["ada@example.org", "bob@example.org"]
    assert {row.data for row in rows} == {MESSAGE}
    assert {row.cells["from"] for row in rows} == {"shop@acme.example"}
    assert {row.cells["message_id"] for row in rows} == {"<1@acme.example>"}
    assert [(len(ids), stream) for ids, stream in door.announced] == [(2, "transactional")]


def test_dots_eight_bits_and_addresses_beyond_ascii_come_through(gate):
    door = gate(to_all=True)
    body = "From: shop@acme.example\r\nSubject: Grüße\r\n\r\n.\r\n..\r\n.Grüße\r\n".encode()
    with door.client() as client:
        client.ehlo()
        client.sendmail(
            "shop@acme.example",
            ["jürgen@example.org"],
            body,
            ["SMTPUTF8", "BODY=8BITMIME", f"SIZE={len(body)}"],
        )

    (row,) = door.rows()
    assert row.to == "jürgen@example.org"
    assert row.data.endswith(body.partition(b"\r\n\r\n")[2])
    assert row.cells["smtputf8"]
    assert row.cells["eight_bit"]


def test_a_stream_has_its_backend(gate):
    door = gate(to_all=True)
    with door.client() as client:
        for stream in (b"", b"X-Mailer-Stream: bulk\r\n"):
            client.sendmail("shop@acme.example", ["ada@example.org"], stream + MESSAGE)

    assert {(row.stream, row.backend) for row in door.rows()} == {("transactional", "main"), ("bulk", "news")}


def test_pipelined_commands_are_answered_in_order(gate):
    door = gate(to_all=True)
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as raw,
        raw.makefile("rb") as replies,
    ):
        raw.sendall(b"".join(ENVELOPE))
        lines = []
        while not lines or not lines[-1].startswith(b"354"):
            lines.append(replies.readline())
        raw.sendall(MESSAGE + b".\r\n" + b"MAIL FROM:<shop@acme.example>\r\nNOOP\r\nQUIT\r\n")
        lines += replies.readlines()

    codes = [line[:3] for line in lines if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"221"]
    assert len(door.rows()) == 1


def test_nobody_sends_without_having_logged_in(gate):
    door = gate()

    assert door.talk(*ENVELOPE[:2])[-1] == "530 5.7.0 Encrypt with STARTTLS and log in first"
    with door.client() as client:
        client.starttls(context=door.trusting())
        client.ehlo()
        assert client.mail("shop@acme.example")[0] == 530
        assert client.rcpt("ada@example.org")[0] == 503
        assert client.docmd("DATA")[0] == 503
    assert door.rows() == []


def test_a_login_in_clear_is_not_even_looked_at(gate):
    door = gate()
    login = door.key()
    with door.client() as client:
        client.ehlo()
        assert not client.has_extn("AUTH")
        assert client.docmd("AUTH PLAIN", plain(*login).decode())[0] == 538
        assert client.docmd("MAIL FROM:<shop@acme.example>")[0] == 530


def test_what_is_pipelined_behind_starttls_is_not_taken(gate):
    door = gate(to_all=True)

    replies = door.talk(b"EHLO me\r\n", b"STARTTLS\r\nMAIL FROM:<shop@acme.example>\r\n")

    assert replies[-1] == "421 5.5.0 Input behind STARTTLS"


def test_what_is_said_together_with_the_end_of_the_handshake_is_heard(gate):
    """A client does not wait for the server to be through, and on a busy machine one read brings both."""
    door = gate()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = door.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as raw:
        with raw.makefile("rb", buffering=0) as replies:
            raw.sendall(b"EHLO me\r\nSTARTTLS\r\n")
            while not replies.readline().startswith(b"220 2.0.0"):
                pass
        while True:
            try:
                talk.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        talk.write(b"NOOP\r\n")
        raw.sendall(outgoing.read())
        heard = b""
        while not heard:
            incoming.write(raw.recv(65536))
            with suppress(ssl.SSLWantReadError):  # a session ticket
                heard = talk.read()

    assert heard == b"250 2.0.0 Ok\r\n"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_both_mechanisms_let_in_and_keep_out(gate, mechanism):
    door = gate()
    user, secret = door.key()
    with door.client() as client:
        client.starttls(context=door.trusting())
        client.ehlo()
        client.user, client.password = user, "0" * 40
        method = getattr(client, f"auth_{mechanism.lower()}")
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.auth(mechanism, method)
        assert f"{refused.value.smtp_code} {refused.value.smtp_error.decode()}" == NO_ENTRY
        client.password = secret
        assert client.auth(mechanism, method)[0] == 235
        assert client.mail("any@acme.example")[0] == 250


def test_the_whole_key_will_do_as_password(gate):
    door = gate()
    user, secret = door.key()
    with door.client((user, f"{user}_{secret}")) as client:
        assert client.noop()[0] == 250


@pytest.mark.parametrize("ended", ["revoked", "expired", "may only read"])
def test_a_key_that_is_over_lets_nobody_in(gate, ended):
    door = gate()
    more = {"expired": {"lasts": -1.0}, "may only read": {"scopes": ("read",)}}.get(ended, {})
    login = door.key(**more)
    if ended == "revoked":
        door.ledger.keys.revoke(login[0])

    with pytest.raises(smtplib.SMTPAuthenticationError) as refused, door.client(login):
        pass
    assert refused.value.smtp_code == 535


def test_a_key_that_is_revoked_while_it_is_used_ends_the_session(gate):
    door = gate(key_seconds=0.0)
    login = door.key()
    with door.client(login) as client:
        client.sendmail("shop@acme.example", ["ada@example.org"], MESSAGE)
        door.ledger.keys.revoke(login[0])
        assert client.mail("shop@acme.example") == (421, b"4.7.0 The key is no longer valid")
    assert len(door.rows()) == 1


def test_failed_logins_are_slowed_down_and_limited_per_address(gate):
    door = gate(max_failures=4)
    wrong = plain("mk_000000000000", "0" * 40).decode()
    seen = []
    for _ in range(2):
        with door.client() as client:
            client.starttls(context=door.trusting())
            client.ehlo()
            for _ in range(3):
                try:
                    seen.append(client.docmd("AUTH PLAIN", wrong)[0])
                except smtplib.SMTPServerDisconnected:
                    seen.append(0)
    assert seen == [535, 535, 535, 535, 421, 0]

    with door.client() as client:  # with the right key too, for a while
        client.starttls(context=door.trusting())
        client.ehlo()
        assert client.docmd("AUTH PLAIN", plain(*door.key()).decode())[0] == 421


@pytest.mark.parametrize(
    ("envelope", "header"),
    [
        ("shop@other.example", "From: shop@acme.example"),
        ("shop@acme.example", "From: Shop <shop@other.example>"),
        ("shop@acme.example", "From: shop@acme.example\r\nSender: boss@other.example"),
        ("shop@acme.example", "From: shop@acme.example\r\nFrom : boss@other.example"),
        ("shop@acme.example", "From: shop@acme.example, boss@other.example"),
        ("shop@acme.example", "From: shop@acme.example <boss@other.example>"),
        ("shop@acme.example", "From:\r\n\tboss@other.example"),
        ("", "From: boss@other.example"),
        ("shop@acme.example", "Subject: no sender at all"),
        ("shop@acme.example", 'From: "shop@acme.example" <boss@other.example> <shop@acme.example>'),
        ("shop@acme.example", "no header\r\nFrom: shop@acme.example"),
    ],
)
def test_a_key_sends_only_as_whom_it_may(gate, envelope, header):
    door = gate()
    with door.client(door.key("*@acme.example")) as client:
        with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError)) as refused:
            client.sendmail(envelope, ["ada@example.org"], f"{header}\r\n\r\nHi\r\n".encode())
        assert refused.value.smtp_code == 550
    assert door.rows() == []


def test_a_device_sends_without_login_from_its_network_only(gate):
    inside, outside = gate(to_all=True), gate(allow_networks=())

    assert [reply[:3] for reply in inside.talk(*ENVELOPE, MESSAGE + b".\r\n")][1:] == ["250"] * 3 + [
        "354",
        "250",
    ]
    assert outside.talk(*ENVELOPE[:2])[-1].startswith("530")


def test_a_message_that_is_too_large_is_refused_when_it_is_announced_and_when_it_comes(gate):
    door = gate(to_all=True, max_size=1000)

    announced = door.talk(b"EHLO me\r\n", b"MAIL FROM:<a@acme.example> SIZE=1001\r\n")
    sent = door.talk(*ENVELOPE, MESSAGE + b"x" * 70 + b"\r\n" * 500 + b".\r\n", b"NOOP\r\n")

    assert announced[-1] == "552 5.3.4 Message too large"
    assert sent[-2:] == ["552 5.3.4 Message too large", "250 2.0.0 Ok"]
    assert door.rows() == []


def test_limits_of_recipients_connections_and_rate(gate):
    from mailer.delivery.limits.rates import parse_all

    door = gate(to_all=True, max_recipients=2, max_connections=2, rates=parse_all("2/h"))
    with door.client() as client:
        client.ehlo()
        client.mail("shop@acme.example")
        codes = [client.rcpt(f"p{n}@example.org") for n in range(3)]
        assert [code for code, _ in codes] == [250, 250, 452]
        assert codes[2][1] == b"4.5.3 Too many recipients"
        assert client.data(MESSAGE)[0] == 250
        code, said = client.mail("shop@acme.example")
        assert (code, said[:15]) == (451, b"4.7.1 Too fast:")
        with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE):
            assert door.talk()[0] == "421 4.3.2 Too many connections, come back later"


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n\n.\r\n", b"\r.\r\n", b"\x00\r\n.\n"]
)
def test_nothing_is_smuggled_behind_a_false_end(gate, end):
    door = gate(to_all=True)
    smuggled = b"MAIL FROM:<boss@acme.example>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n" + MESSAGE

    replies = door.talk(*ENVELOPE, MESSAGE + b"x" + end + smuggled + b".\r\n", b"NOOP\r\n")

    assert replies[-2:] == ["550 5.6.11 Bare CR or LF", "250 2.0.0 Ok"]
    assert door.rows() == []


def test_a_session_that_is_cut_before_the_final_dot_stores_nothing(gate):
    door = gate(to_all=True)
    for tail in (b"", b".", b".\r", b"\r\n."):
        with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as raw:
            with raw.makefile("rb") as replies:
                raw.sendall(b"".join(ENVELOPE))
                while not replies.readline().startswith(b"354"):
                    pass
            raw.sendall(MESSAGE + tail)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as raw:
        raw.recv(100)
    wait_until(lambda: not door.gateway._sessions, "the sessions' ends")

    assert door.rows() == []


def test_who_speaks_something_else_is_cut_off(gate):
    door = gate(to_all=True)

    replies = door.talk(*[b"GET / HTTP/1.1\r\n"] * 31)

    assert replies[-2:] == ["500 5.5.1 Command unknown", "421 4.7.0 Too many errors"]
    assert (
        door.talk(b"EHLO me\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nFrom: x\r\n")
        != []
    )
    assert door.rows() == []


def test_old_addresses_in_a_long_list_cut_nobody_off_who_sends(gate):
    door = gate(to_all=True)
    with door.client() as client:
        client.ehlo()
        for _ in range(2):
            client.mail("shop@acme.example")
            assert [client.rcpt("nobody")[0] for _ in range(20)] == [553] * 20
            client.rcpt("ada@example.org")
            assert client.data(MESSAGE)[0] == 250


def test_a_ledger_that_fails_is_said_so_and_costs_no_session(gate, monkeypatch):
    from mailer.errors import LedgerError

    door = gate(to_all=True)
    with door.client() as client:
        client.sendmail("shop@acme.example", ["ada@example.org"], MESSAGE)
        with monkeypatch.context() as broken:
            broken.setattr(door.ledger.singles, "add_each", lambda groups: [LedgerError("the disk is full")])
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail("shop@acme.example", ["ada@example.org"], MESSAGE)
        assert refused.value.smtp_code == 451
        client.sendmail("shop@acme.example", ["ada@example.org"], MESSAGE)
    assert len(door.rows()) == 2


def test_tls_from_the_first_octet(gate):
    door = gate(port=None, tls_port=0)
    with smtplib.SMTP_SSL("localhost", door.port, timeout=PATIENCE, context=door.trusting()) as client:
        client.login(*door.key())
        client.sendmail("shop@acme.example", ["ada@example.org"], MESSAGE)
    assert len(door.rows()) == 1


def test_old_tls_is_refused(gate):
    door = gate(port=None, tls_port=0)
    context = door.trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        smtplib.SMTP_SSL("localhost", door.port, timeout=PATIENCE, context=context)


def test_who_never_says_who_it_is_is_sent_away(gate, monkeypatch):
    monkeypatch.setattr("mailer.gateway.server.LOOK_SECONDS", 0.01)
    door = gate(login_seconds=0.0)
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as raw,
        raw.makefile("rb") as replies,
    ):
        assert replies.readlines()[-1] == b"421 4.4.2 That takes too long\r\n"


def test_a_message_that_is_being_received_at_the_end_is_finished(gate):
    door = gate(to_all=True)
    with door.client() as busy, door.client() as idle:
        busy.ehlo()
        busy.mail("shop@acme.example")
        busy.rcpt("ada@example.org")
        busy.putcmd("DATA")
        assert busy.getreply()[0] == 354
        door.stop()
        assert idle.getreply() == (421, b"4.3.2 Shutting down")
        busy.send(MESSAGE + b".\r\n")
        assert busy.getreply()[0] == 250
        assert busy.getreply() == (421, b"4.3.2 Shutting down")
    assert len(door.rows()) == 1


@pytest.mark.parametrize("tls_port", [None, 0])
def test_who_does_not_look_keeps_nothing_open_when_told_to_go(gate, monkeypatch, tls_port):
    """A client of a pool answers no goodbye; without a limit its place would stay taken for 30 s."""
    monkeypatch.setattr("mailer.gateway.server.LOOK_SECONDS", 0.01)
    door = gate(port=None if tls_port == 0 else 0, tls_port=tls_port)
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE) as raw:
        if tls_port is None:
            raw.sendall(b"EHLO me\r\nSTARTTLS\r\n")
            with raw.makefile("rb", buffering=0) as replies:
                while not replies.readline().startswith(b"220 2.0.0"):
                    pass
        with door.trusting().wrap_socket(raw, server_hostname="localhost"):
            door.gateway.config = replace(door.gateway.config, login_seconds=0.0)
            wait_until(lambda: not door.gateway._sessions, "its place", seconds=20)


def test_a_renewed_certificate_is_used_for_those_who_come_then(gate, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mailer.gateway.server.LOOK_SECONDS", 0.01)
    door = gate(port=None, tls_port=0)

    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", door.port))

    before = shown()
    (tmp_path / "key.pem").write_text("half of it is writ")
    wait_until(lambda: "cannot be used" in caplog.text, "the half of it was read")
    assert shown() == before
    self_signed(tmp_path)
    wait_until(lambda: shown() != before, "the new certificate")
    assert shown() == door.certificate.read_text()
