"""XOAUTH2 with a token that is fetched: from a real HTTP server, into a real SMTP login."""

import asyncio
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from mailer.backends import connect, urls
from mailer.backends.smtp import refresh
from mailer.backends.smtp.connect import open_session
from mailer.backends.smtp.faults import Fault
from mailer.backends.smtp.oauth import GOOGLE, Grant, TokenSource
from mailer.backends.smtp.options import Options
from mailer.errors import BackendUnusable, ConfigError
from tests.contract.providers.fake import Fake, Response, serving

APPLICATION = {"tenant": "acme", "client_id": "id-1", "client_secret": "secret-1"}
MAILBOX = {"client_id": "id-1", "client_secret": "secret-1", "refresh_token": "refresh-1"}


@pytest.fixture
def issuer(stack) -> Fake:
    """Gives token-1, token-2, … for an hour each."""

    def play(request) -> Response:
        number = len(issuer.requests)
        return Response(200, {"access_token": f"token-{number}", "expires_in": 3600, "token_type": "Bearer"})

    issuer = stack.enter_context(serving(play))
    return issuer


@pytest.fixture
def written(tmp_path):
    def write(**content: str) -> str:
        file = tmp_path / "oauth.json"
        file.write_text(json.dumps(content))
        return str(file)

    return write


def form(issuer: Fake, number: int = -1) -> dict[str, str]:
    request = issuer.requests[number]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    return dict(parse_qsl(request.body.decode()))


async def test_a_login_with_a_fetched_token(issuer, written, mailer_sink):
    sink = mailer_sink(auth=True, user="news@acme.example", password="token-1")
    file = written(**APPLICATION, token_uri=f"{issuer.base}/token")
    url = f"smtp://news%40acme.example@127.0.0.1:{sink.port}?tls=none&oauth_file={file}"
    backend = connect(urls.parse("main", url))

    assert "logged in by XOAUTH2" in await backend.probe()
    assert "logged in by XOAUTH2" in await backend.probe()
    await backend.close()

    assert len(issuer.requests) == 1
    assert form(issuer) == {
        "grant_type": "client_credentials",
        "client_id": "id-1",
        "client_secret": "secret-1",
        "scope": "https://outlook.office365.com/.default",
    }


async def test_a_token_that_the_server_refuses_is_not_used_again(issuer, written, mailer_sink):
    sink = mailer_sink(auth=True, user="news@acme.example", password="token-2")
    file = written(**APPLICATION, token_uri=f"{issuer.base}/token")
    url = f"smtp://news%40acme.example@127.0.0.1:{sink.port}?tls=none&oauth_file={file}"
    backend = connect(urls.parse("main", url))

    with pytest.raises(BackendUnusable) as caught:
        await backend.probe()
    assert "logged in by XOAUTH2" in await backend.probe()
    await backend.close()

    assert caught.value.lasting
    assert "535" in str(caught.value)
    assert "token-1" not in str(caught.value)


async def test_a_token_that_was_good_is_replaced_once_when_it_is_refused(issuer, written, mailer_sink):
    """Revoked, or expired while this machine slept: one more token, on the same connection."""
    old = mailer_sink(auth=True, user="news@acme.example", password="token-1")
    new = mailer_sink(auth=True, user="news@acme.example", password="token-2")
    file = written(**APPLICATION, token_uri=f"{issuer.base}/token")
    parse = f"smtp://news%40acme.example@127.0.0.1:{old.port}?tls=none&oauth_file={file}"
    options = Options.parse(urls.parse("main", parse))
    moved = replace(options, port=new.port)

    first = await open_session(options, None)
    await first.session.quit()
    again = await open_session(moved, None)
    await again.session.quit()
    with pytest.raises(BackendUnusable) as caught:  # token-3 is new, and is not taken either
        await open_session(options, None)

    assert (first.mechanism, again.mechanism) == ("xoauth2", "xoauth2")
    assert caught.value.lasting
    assert len(issuer.requests) == 3


async def test_connections_share_a_token_and_its_replacement(issuer, written):
    source = TokenSource(Grant.parse(written(**MAILBOX, token_uri=f"{issuer.base}/token")))
    assert set(await asyncio.gather(*(source.token() for _ in range(5)))) == {"token-1"}
    source.proven()
    assert set(await asyncio.gather(*(source.another("token-1") for _ in range(5)))) == {"token-2"}
    assert await source.another("token-2") is None  # it was not good for anything yet
    assert await source.token() == "token-3"


LIFETIMES = [
    (3600, 3540),
    ("3600", 3540),
    (None, 240),
    ("soon", 240),
    ([], 240),
    (30, 0),
    (10**9, 86_340),
    (-5, 0),
]


@pytest.mark.parametrize(("told", "used"), LIFETIMES)
async def test_how_long_a_token_is_used(issuer, written, told, used):
    issuer.script = [Response(200, {"access_token": "first", "expires_in": told})]
    now = 1000.0
    source = TokenSource(Grant.parse(written(**MAILBOX, token_uri=f"{issuer.base}/token")), clock=lambda: now)
    await source.token()
    if used:
        now += used - 1
        assert await source.token() == "first"
        now += 1
    assert await source.token() == "token-2"


async def test_a_token_is_fetched_again_before_it_expires(issuer, written):
    now = 100.0
    grant = Grant.parse(written(**MAILBOX, token_uri=f"{issuer.base}/token"))
    source = TokenSource(grant, clock=lambda: now)

    assert [await source.token(), await source.token()] == ["token-1", "token-1"]
    now += 3600 - 61
    assert await source.token() == "token-1"
    now += 1
    assert await source.token() == "token-2"
    assert form(issuer) == {"grant_type": "refresh_token"} | MAILBOX


def rotated(number: int) -> Response:
    return Response(200, {"access_token": "a", "expires_in": 0, "refresh_token": f"refresh-{number}"})


def used(issuer: Fake) -> list[str]:
    return [form(issuer, number)["refresh_token"] for number in range(len(issuer.requests))]


async def test_a_new_refresh_token_is_used_from_then_on_also_after_a_restart(issuer, written):
    issuer.script = [rotated(2), rotated(3), rotated(3)]
    file = written(**MAILBOX, token_uri=f"{issuer.base}/token", note="ours")
    Path(file).chmod(0o640)
    source = TokenSource(Grant.parse(file))
    for one in (source, source, TokenSource(Grant.parse(file))):
        await one.token()

    assert used(issuer) == ["refresh-1", "refresh-2", "refresh-3"]
    kept = json.loads(Path(file).read_text())
    assert kept == MAILBOX | {
        "refresh_token": "refresh-3",
        "token_uri": f"{issuer.base}/token",
        "note": "ours",
    }
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in Path(file).parent.iterdir()] == ["oauth.json"]


async def test_the_file_behind_a_link_is_replaced_and_the_link_stays(issuer, written, tmp_path):
    issuer.script = [rotated(2)]
    file = written(**MAILBOX, token_uri=f"{issuer.base}/token")
    link = tmp_path / "linked.json"
    link.symlink_to(file)
    await TokenSource(Grant.parse(str(link))).token()

    assert link.is_symlink()
    assert json.loads(Path(file).read_text())["refresh_token"] == "refresh-2"


async def test_processes_share_the_file(issuer, written):
    """Each looks before it asks; and again where the issuer has forgotten what it had."""
    file = written(**MAILBOX, token_uri=f"{issuer.base}/token")
    first, second = TokenSource(Grant.parse(file)), TokenSource(Grant.parse(file))
    issuer.script = [rotated(2), rotated(3)]
    await first.token()
    await second.token()
    assert used(issuer) == ["refresh-1", "refresh-2"]

    def meanwhile(request) -> Response:
        """While the first asks with refresh-3, another has got refresh-4 for it, and the issuer forgets."""
        if b"refresh-3" in request.body:
            written(**MAILBOX | {"refresh_token": "refresh-4"})
            return Response(400, {"error": "invalid_grant"})
        return rotated(5)

    issuer.play = meanwhile
    await first.token()
    assert used(issuer)[2:] == ["refresh-3", "refresh-4"]
    assert json.loads(Path(file).read_text())["refresh_token"] == "refresh-5"

    def faster(request) -> Response:
        written(**MAILBOX | {"refresh_token": "refresh-6"})
        return rotated(7)

    issuer.play = faster
    await first.token()
    assert json.loads(Path(file).read_text())["refresh_token"] == "refresh-6"  # the first to write
    await first.token()
    assert used(issuer)[-1] == "refresh-6"


@pytest.mark.parametrize("why", ["another owner", "no room"])
async def test_what_cannot_be_written_back_is_said_once_and_used(issuer, written, monkeypatch, caplog, why):
    file = written(**MAILBOX, token_uri=f"{issuer.base}/token")
    if why == "another owner":
        monkeypatch.setattr(os, "geteuid", lambda: Path(file).stat().st_uid + 1)
    else:
        monkeypatch.setattr(os, "fsync", full)
    issuer.script = [rotated(2), rotated(3), rotated(4)]
    source = TokenSource(Grant.parse(file))
    for _ in range(3):
        await source.token()

    assert used(issuer) == ["refresh-1", "refresh-2", "refresh-3"]
    (warning,) = [one for one in caplog.records if one.name == refresh.__name__]
    assert "it is lost when this process ends" in warning.getMessage()
    assert not any(f"refresh-{number}" in caplog.text for number in range(1, 5))
    assert json.loads(Path(file).read_text())["refresh_token"] == "refresh-1"
    assert [one.name for one in Path(file).parent.iterdir()] == ["oauth.json"]


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


REFUSALS = [
    (Response(400, {"error": "invalid_grant", "error_description": "refresh-1 was revoked"}), True),
    (Response(401, {"error": "invalid_client"}), True),
    (Response(400, {"error": "temporarily_unavailable"}), False),
    (Response(503, "<html>not now</html>"), False),
    (Response(200, {"token": "x"}), False),
    ("drop", False),
]


@pytest.mark.parametrize(("answer", "lasting"), REFUSALS)
async def test_without_a_token_it_is_said_who_must_mend_it(issuer, written, answer, lasting):
    issuer.script = [answer]
    source = TokenSource(Grant.parse(written(**MAILBOX, token_uri=f"{issuer.base}/token")))
    with pytest.raises(Fault) as caught:
        await source.token()
    assert caught.value.lasting is lasting
    assert "127.0.0.1" in caught.value.reason
    assert "refresh-1" not in caught.value.reason


def test_google_is_asked_unless_there_is_a_tenant(written):
    assert Grant.parse(written(**MAILBOX)).url == GOOGLE
    assert "/acme/" in Grant.parse(written(**APPLICATION)).url
    assert "secret-1" not in repr(Grant.parse(written(**APPLICATION)))


WRONG = [
    ({"client_id": "x", "client_secret": "y"}, "", "needs a refresh_token, or the tenant"),
    ({"tenant": "x", "client_id": "y"}, "", "lacks client_secret"),
    ({**MAILBOX, "token_uri": "http://token.example"}, "", "token_uri must be https://"),
    (MAILBOX, "&auth=plain", "no auth but xoauth2"),
]


@pytest.mark.parametrize(("content", "more", "words"), WRONG)
def test_a_file_that_cannot_work_is_refused_without_its_content(written, content, more, words):
    with pytest.raises(ConfigError, match=words) as caught:
        connect(urls.parse("main", f"smtp://me@smtp.example.com?oauth_file={written(**content)}{more}"))
    assert "secret-1" not in str(caught.value)
