"""Connecting, TLS and login: what is refused, and that no password leaves unprotected."""

from __future__ import annotations

import base64
import hmac
import ssl
from collections.abc import Callable

import pytest

from mailer.backends.contract import BackendConfig
from mailer.backends.smtp.backend import connect
from mailer.backends.smtp.options import Options
from mailer.errors import BackendUnusable, ConfigError
from mailer.message import Accepted
from mailer.sink.certificate import Certificate
from tests.idle_time import in_idle_time
from tests.unit.smtp.scripted import Act, Marks, Scripted, Visit, gone, message, serving

USER, PASSWORD = "me@sender.example", "s3cret pässword"


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


async def send(
    server: Scripted,
    scheme: str = "smtp",
    host: str = "127.0.0.1",
    login: bool = True,
    connections: int = 1,
    **options: str,
):
    config = BackendConfig(
        "test",
        f"{scheme}://{host}:{server.port}",
        user=USER if login else None,
        password=PASSWORD if login else None,
        connections=connections,
        options=options,
    )
    backend = connect(config)
    try:
        return await backend.send([message(1), message(2)], Marks())
    finally:
        await backend.close()


def assert_all_accepted(outcomes) -> None:
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]


# --- TLS -----------------------------------------------------------------------------------------

AUTH = ("PIPELINING", "AUTH PLAIN LOGIN")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_starttls_then_login_then_mail(certificate: Callable[..., Certificate], host: str) -> None:
    mine = certificate()
    async with serving(extensions=AUTH, tls=server_context(mine)) as server:
        assert_all_accepted(await send(server, host=host, ca_file=str(mine.cert)))

    verbs = [line.split(" ")[0] for line in server.log]
    assert verbs[:5] == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]


async def test_tls_from_the_start(certificate: Callable[..., Certificate]) -> None:
    mine = certificate()
    async with serving(extensions=AUTH, tls=server_context(mine), implicit=True) as server:
        assert_all_accepted(await send(server, scheme="smtps", ca_file=str(mine.cert)))

    assert "STARTTLS" not in server.log


async def test_a_large_body_under_tls(certificate: Callable[..., Certificate]) -> None:
    mine, data = certificate(), (b"x" * 900 + b"\r\n") * 3000
    async with serving(tls=server_context(mine)) as server:
        backend = connect(
            BackendConfig("t", f"smtp://localhost:{server.port}", options={"ca_file": str(mine.cert)})
        )
        outcomes = await backend.send([message(1, data=data), message(2)], Marks())
        await backend.close()

    assert_all_accepted(outcomes)
    assert server.stored[0][2] == data


BAD_CERTIFICATES = {
    "self-signed": lambda make: (make(), None),
    "other host": lambda make: _both(make("mail.other.example")),
    "expired": lambda make: _both(make(expired=True)),
}


def _both(one: Certificate) -> tuple[Certificate, Certificate]:
    return one, one


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.parametrize("which", BAD_CERTIFICATES)
async def test_a_certificate_that_proves_nothing_gets_no_password(
    certificate: Callable[..., Certificate], which: str, scheme: str
) -> None:
    mine, trusted = BAD_CERTIFICATES[which](certificate)
    options = {"ca_file": str(trusted.cert)} if trusted else {}
    async with serving(extensions=AUTH, tls=server_context(mine), implicit=scheme == "smtps") as server:
        with pytest.raises(BackendUnusable, match="certificate") as caught:
            await send(server, scheme=scheme, host="localhost", **options)

    assert caught.value.lasting
    assert not any(line.startswith(("AUTH", "MAIL")) for line in server.log)
    assert ("?ca_file=" in str(caught.value)) is (which == "self-signed")


async def test_starttls_that_vanished_gets_no_password() -> None:
    async with serving(extensions=AUTH) as server:
        with pytest.raises(BackendUnusable, match="STARTTLS") as caught:
            await send(server)

    assert caught.value.lasting
    assert b"AUTH" not in server.received
    assert b"MAIL" not in server.received


async def test_words_in_clear_behind_the_220_end_it(certificate: Callable[..., Certificate]) -> None:
    """STARTTLS response injection: the attacker's reply must not be read as the server's (RFC 3207)."""
    mine = certificate()
    script = lambda step, _: Act("220 go ahead\n250 AUTH PLAIN") if step == "STARTTLS" else None  # noqa: E731
    async with serving(script, extensions=AUTH, tls=server_context(mine)) as server:
        with pytest.raises(BackendUnusable, match="between us") as caught:
            await send(server, host="localhost", ca_file=str(mine.cert))

    assert caught.value.lasting
    assert b"AUTH" not in server.received


@pytest.mark.parametrize(
    ("act", "lasting"), [(Act("454 4.7.0 not now"), False), (gone("220"), False), (Act("hm?"), False)]
)
async def test_a_starttls_that_fails(
    certificate: Callable[..., Certificate], act: Act, lasting: bool
) -> None:
    script = lambda step, _: act if step == "STARTTLS" else None  # noqa: E731
    async with serving(script, extensions=AUTH, tls=server_context(certificate())) as server:
        with pytest.raises(BackendUnusable) as caught:
            await send(server)

    assert caught.value.lasting is lasting
    assert b"AUTH" not in server.received


async def test_offers_in_clear_do_not_count_under_tls(certificate: Callable[..., Certificate]) -> None:
    """PIPELINING was offered before STARTTLS and not after it."""
    mine = certificate()

    def script(step: str, visit: Visit) -> Act | None:
        return Act("250-test\n250 SIZE 1000000") if step == "EHLO" and visit.encrypted else None

    async with serving(script, tls=server_context(mine)) as server:
        assert_all_accepted(await send(server, host="localhost", login=False, ca_file=str(mine.cert)))

    assert b".\r\nMAIL FROM:<from2" in server.received  # what was sent …
    assert [step for step in server.log if step == "EHLO"] == []  # … with one EHLO in clear, one under TLS
    assert sum(line.startswith("EHLO") for line in server.log) == 2


async def test_opportunistic_takes_what_there_is(certificate: Callable[..., Certificate]) -> None:
    async with serving() as plain:
        assert_all_accepted(await send(plain, login=False, tls="opportunistic"))
    async with serving(tls=server_context(certificate("unknown.example"))) as encrypted:
        assert_all_accepted(await send(encrypted, login=False, tls="opportunistic"))

    assert "STARTTLS" in encrypted.log


@in_idle_time
async def test_a_plain_server_behind_smtps() -> None:
    async with serving() as server:
        with pytest.raises(BackendUnusable) as caught:
            await send(server, scheme="smtps")

    assert b"AUTH" not in server.received
    assert PASSWORD not in str(caught.value)


# --- login ---------------------------------------------------------------------------------------


class Login:
    """A server's side of AUTH: remembers the mechanism and whether the password was right."""

    def __init__(self) -> None:
        self.seen: list[str] = []


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "xoauth2"])
async def test_each_mechanism(mechanism: str) -> None:
    async with serving(extensions=("PIPELINING", f"AUTH {mechanism.upper()}")) as server:
        seen = answer_logins(server)
        assert_all_accepted(await send(server, tls="none", auth=mechanism))

    assert seen == [(mechanism, USER, PASSWORD)]


def answer_logins(server: Scripted) -> list[tuple[str, str, str]]:
    """Make the scripted server check logins as RFC 4616, RFC 2195 and Google's XOAUTH2 page have it."""
    seen: list[tuple[str, str, str]] = []
    serve = server.serve

    async def wrapped(reader, writer) -> None:
        readuntil = reader.readuntil

        async def ask(challenge: bytes) -> bytes:
            writer.write(b"334 " + base64.b64encode(challenge) + b"\r\n")
            return base64.b64decode(await readuntil(b"\r\n"))

        async def login(line: bytes) -> None:
            _, mechanism, *first = line.decode().split()
            if mechanism == "PLAIN":
                _, user, password = base64.b64decode(first[0]).decode().split("\0")
            elif mechanism == "LOGIN":
                user = base64.b64decode(first[0]).decode()
                password = (await ask(b"Password:")).decode()
            elif mechanism == "CRAM-MD5":
                user, _, digest = (await ask(b"<1@test>")).decode().rpartition(" ")
                good = hmac.new(PASSWORD.encode(), b"<1@test>", "md5").hexdigest()
                password = PASSWORD if digest == good else "wrong"
            else:
                user, bearer, *_ = base64.b64decode(first[0]).decode().removeprefix("user=").split("\x01")
                password = bearer.removeprefix("auth=Bearer ")
            seen.append((mechanism.lower(), user, password))

        async def spy(separator: bytes) -> bytes:
            line = await readuntil(separator)
            if line.startswith(b"AUTH "):
                await login(line)
            return line

        reader.readuntil = spy
        await serve(reader, writer)

    server.serve = wrapped
    return seen


@pytest.mark.parametrize(
    ("offered", "used"),
    [("PLAIN LOGIN CRAM-MD5", "cram-md5"), ("LOGIN PLAIN", "plain"), ("LOGIN", "login")],
)
async def test_in_clear_the_password_is_shown_only_when_there_is_no_other_way(
    offered: str, used: str
) -> None:
    async with serving(extensions=("PIPELINING", f"AUTH {offered}")) as server:
        seen = answer_logins(server)
        await send(server, tls="none")

    assert [mechanism for mechanism, _, _ in seen] == [used]


@pytest.mark.parametrize("offers", [(), ("AUTH",), ("AUTH XOAUTH2 GSSAPI",)])
async def test_no_mechanism_in_common(offers: tuple[str, ...]) -> None:
    async with serving(extensions=offers) as server:
        with pytest.raises(BackendUnusable, match="offers no login") as caught:
            await send(server, tls="none")

    assert caught.value.lasting


@pytest.mark.parametrize(
    ("reply", "lasting"),
    [("535 5.7.8 bad credentials", True), ("534 5.7.9 too weak", True), ("454 4.7.0 try later", False)],
)
async def test_a_refused_login_is_tried_once(reply: str, lasting: bool) -> None:
    """Several failed logins in a row lock accounts."""
    script = lambda step, _: Act(reply) if step == "AUTH" else None  # noqa: E731
    async with serving(script, extensions=("AUTH PLAIN LOGIN",)) as server:
        with pytest.raises(BackendUnusable) as caught:
            await send(server, tls="none", connections=10)

    assert caught.value.lasting is lasting
    assert sum(line.startswith("AUTH") for line in server.log) == 1
    encoded = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    assert PASSWORD not in str(caught.value)
    assert encoded not in str(caught.value)


# --- hello, probe, options -----------------------------------------------------------------------


async def test_an_old_server_without_ehlo() -> None:
    script = lambda step, _: Act("502 5.5.1 what?") if step == "EHLO" else None  # noqa: E731
    async with serving(script) as server:
        assert_all_accepted(await send(server, login=False, tls="none", ehlo="client.example"))
    assert "HELO client.example" in server.log
    assert not any("SIZE" in line for line in server.log)

    async with serving(script) as server:
        with pytest.raises(BackendUnusable):
            await send(server, login=False)
    assert not any(line.startswith("HELO") for line in server.log)


async def test_probe_says_who_answered(certificate: Callable[..., Certificate]) -> None:
    mine = certificate()
    async with serving(extensions=AUTH, tls=server_context(mine)) as server:
        options = {"ca_file": str(mine.cert)}
        url = f"smtp://localhost:{server.port}"
        backend = connect(BackendConfig("t", url, user=USER, password=PASSWORD, options=options))
        line = await backend.probe()
        await backend.close()

    assert line == f"localhost:{server.port} test ESMTP; TLSv1.3; logged in by PLAIN"
    assert server.log[-1] == "QUIT"
    assert server.stored == []


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        ("smtp://", {}, "no host"),
        ("smtp://h", {"tsl": "none"}, "did you mean 'tls'"),
        ("smtp://h", {"tls": "maybe"}, "required, opportunistic, none"),
        ("smtp://h", {"auth": "ntlm"}, "plain, login"),
        ("smtp://h", {"idle": "soon"}, "duration"),
        ("smtp://h", {"timeout_dot": "0"}, "duration"),
        ("smtp://h", {"max_messages": "-1"}, "whole number"),
        ("smtp://h", {"ehlo": "a b"}, "host name"),
        ("smtp://h", {"ehlo": "a\r\nMAIL"}, "host name"),
        ("smtp://h", {"ca_file": "/nowhere.pem"}, "no such file"),
        ("smtp://h", {"source": "here"}, "source"),
        ("smtp://h", {"pipelining": "perhaps"}, "pipelining"),
        ("smtps://h", {"tls": "none"}, "smtps"),
        ("smtp://u:p@relay.example", {"tls": "none"}, "in clear"),
        ("smtp://u:p@relay.example", {"tls": "opportunistic"}, "in clear"),
        ("smtp://u@relay.example", {}, "no password"),
        ("smtp://relay.example", {"auth": "plain"}, "needs a user"),
    ],
)
def test_wrong_options_are_named(url: str, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        connect(BackendConfig("main", url, options=options))

    assert "'main'" in str(caught.value)


def test_defaults_and_units() -> None:
    options = Options.parse(BackendConfig("m", "smtp://h", options={"timeout_dot": "10m", "idle": "500ms"}))

    assert (options.port, options.tls, options.timeouts.dot, options.idle) == (587, "required", 600.0, 0.5)
    assert Options.parse(BackendConfig("m", "smtps://h")).port == 465
    assert Options.parse(BackendConfig("m", "smtp://h?tls=none")).port == 25
    assert Options.parse(BackendConfig("m", "smtp://[::1]:2525?tls=none")).host == "::1"


def test_a_password_does_not_show() -> None:
    options = Options.parse(BackendConfig("m", "smtp://u:s3cret@h"))

    assert "s3cret" not in repr(options)
    assert "s3cret" not in repr(connect(BackendConfig("m", "smtp://u:s3cret@h")))
