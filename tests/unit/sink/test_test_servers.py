"""The servers and the proxy that other tests lean on do what they say."""

import smtplib
import socket
import ssl

import pytest

from tests import servers


def send(port: int, recipient: str = "ada@example.org", data: bytes = b"Subject: x\r\n\r\nhello\r\n") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=servers.PATIENCE) as client:
        client.sendmail("news@acme.example", [recipient], data)


def test_smtp_sink_keeps_what_it_took(smtp_sink):
    sink = smtp_sink()
    send(sink.port, data=b"Subject: x\r\n\r\n.dot\r\n")

    (message,) = sink.messages()

    assert message.sender == "news@acme.example"
    assert message.recipients == ("ada@example.org",)
    assert message.data == b"Subject: x\n\n.dot\n"
    assert sink.count() == 1


def test_smtp_sink_misbehaves_on_request(smtp_sink):
    sink = smtp_sink("-f", "RCPT")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(sink.port)
    assert sink.recipients() == []


def test_redis_forgets_on_restart(redis_server):
    def ask(command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", redis_server.port), timeout=servers.PATIENCE) as client:
            client.sendall(command + b"\r\n")
            return client.recv(100)

    assert ask(b"SET a 1") == b"+OK\r\n"
    redis_server.restart()
    assert ask(b"GET a") == b"$-1\r\n"


def test_a_missing_program_skips_on_a_laptop(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install-test-servers"):
        servers.need("no-such-program")


def test_a_missing_program_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install-test-servers"):
        servers.need("no-such-program")


def test_settings_of_the_caller_are_gone(monkeypatch, request):
    monkeypatch.setenv("MAILER_LEDGER_URL", "sqlite:////precious.db")
    request.getfixturevalue("certificate")  # any fixture: the scrubbing itself ran before this line
    import os

    assert "pytest" in os.environ["HOME"]


def test_the_proxy_passes_everything(smtp_sink, tcp_proxy):
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port, record=True)
    send(proxy.port)
    assert sink.recipients() == ["ada@example.org"]
    assert b"RCPT TO:<ada@example.org>" in proxy.up.seen.upper().replace(
        b"ADA@EXAMPLE.ORG", b"ada@example.org"
    )


def test_the_proxy_breaks_before_the_final_dot(smtp_sink, tcp_proxy):
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port)
    proxy.up.cut_at = b"\r\n.\r\n"
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(proxy.port)
    assert sink.count() == 0


def test_the_proxy_breaks_after_the_final_dot(smtp_sink, tcp_proxy):
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port)
    proxy.up.cut_at, proxy.up.let_pass = b"\r\n.\r\n", True
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(proxy.port)
    servers.wait_until(lambda: sink.count() == 1, "the message to arrive")


def test_the_proxy_breaks_the_second_match_only(smtp_sink, tcp_proxy):
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port)
    proxy.up.cut_at, proxy.up.matches = b"\r\n.\r\n", 2
    send(proxy.port)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(proxy.port)
    assert sink.count() == 1


def test_the_proxy_counts_octets(smtp_sink, tcp_proxy):
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port)
    proxy.down.cut_after = 3
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=servers.PATIENCE) as client:
        client.settimeout(servers.PATIENCE)
        received = b""
        while chunk := client.recv(100):
            received += chunk
    assert received == b"220"


def test_the_proxy_refuses_and_drops(smtp_sink, tcp_proxy):
    proxy = tcp_proxy(smtp_sink().port)
    proxy.refuse = True
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(proxy.port)
    proxy.refuse = False
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=servers.PATIENCE) as client:
        client.recv(100)
        proxy.drop()
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_the_proxy_swallows(smtp_sink, tcp_proxy):
    proxy = tcp_proxy(smtp_sink().port)
    proxy.down.swallow = True
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as client,
        pytest.raises(TimeoutError),
    ):
        client.recv(1)


def test_a_certificate_is_trusted_by_whom_it_is_given_to(certificate):
    good, expired = certificate(), certificate(expired=True)
    assert ssl.create_default_context(cafile=str(good.cert)).get_ca_certs() != []
    assert expired.key.stat().st_mode & 0o077 == 0
