"""What the settings say about an account at a provider, and the registry around it."""

import asyncio

import pytest

from mailer.backends import BACKENDS, GROUP, SANDBOXES, connect, default_rates, known, sandboxed, urls
from mailer.backends.http import HttpBackend
from mailer.errors import BackendUnusable, ConfigError
from mailer.settings import Settings
from mailer.wiring import backend_configs, backend_name, backend_rates
from tests.contract.providers.fake import serving
from tests.contract.providers.registry import ROLES
from tests.contract.providers.role import KEY
from tests.servers import PATIENCE

WRONG = [
    ("postmark://", "there is no key"),
    ("postmark://k@host", "nothing stands behind the @-sign"),
    ("postmark://k%0d%0ax@", "a character that no key has"),
    ("postmark://k@?base=http://api.example.com", "would go out in clear"),
    ("postmark://k@?base=ftp://127.0.0.1", "would go out in clear"),
    ("postmark://k@?base=https://u:p@api.example.com", "option 'base' must be an address"),
    ("postmark://k@?batch=501", "at most 500"),
    ("postmark://k@?steam=x", "unknown option 'steam'"),
    ("postmark://k@?sandbox=perhaps", "must be yes or no"),
    ("postmark://k@?ca_file=/nowhere", "no such file"),
    ("sendgrid://k@?region=mars", "must be one of: global, eu"),
]


@pytest.mark.parametrize(("url", "words"), WRONG)
def test_what_is_wrong_is_said_with_the_backends_name(url, words):
    with pytest.raises(ConfigError, match=words) as caught:
        connect(urls.parse("main", url))
    assert str(caught.value).startswith("backend 'main': ")


def test_a_key_may_stand_in_a_file(tmp_path):
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "resend:"\nkey_file = "key"\n')
    config = backend_configs(Settings.load(tmp_path))["main"]
    backend = connect(config)
    assert isinstance(backend, HttpBackend)
    assert backend.provider.check()[0].headers["Authorization"] == "Bearer from-a-file"
    assert "from-a-file" not in repr(config)


def test_a_key_in_a_url_is_not_in_the_name_that_the_ledger_keeps(tmp_path):
    name = backend_name(Settings.load(tmp_path), "postmark://secret-token@?stream=broadcast")
    assert name == "postmark://?stream=broadcast"


def test_the_providers_own_limit_holds_where_none_is_set(tmp_path):
    (tmp_path / "mailer.toml").write_text(
        '[backends.own]\nurl = "resend://k@"\n'
        '[backends.single]\nurl = "resend://k@?batch=1"\n'
        '[backends.set]\nurl = "resend://k@"\nrate = "5/s"\n'
        '[backends.none]\nurl = "postmark://k@"\n'
    )
    rates = backend_rates(Settings.load(tmp_path))
    assert {name: rate.rates for name, rate in rates.items()} == {
        "own": ("1000/s",),
        "single": ("10/s",),
        "set": ("5/s",),
        "none": (),
    }


def test_single_messages_under_a_key_may_be_tried_again_and_batches_may_not():
    single = connect(urls.parse("main", "resend://k@?batch=1")).limits
    batch = connect(urls.parse("main", "resend://k@")).limits
    assert (single.idempotent, single.idempotency_window, single.batched) == (True, 86_400.0, False)
    assert (batch.idempotent, batch.batched, batch.batch) == (False, True, 100)


def test_another_package_can_bring_a_backend(tmp_path, monkeypatch):
    info = tmp_path / "pigeon-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\npigeon = pigeon_post:connect\n")
    (tmp_path / "pigeon_post.py").write_text("def connect(config):\n    return ('coo', config.name)\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert known("pigeon")
    assert not known("parrot")
    assert connect(urls.parse("main", "pigeon://loft")) == ("coo", "main")
    assert default_rates(urls.parse("main", "pigeon://loft")) == ()


async def test_a_certificate_is_verified_unless_it_is_trusted(certificate, monkeypatch):
    import ssl

    with serving(ROLES["postmark"].play) as fake:
        own = certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.cert, own.key)
        fake.secure(context)
        base = f"https://127.0.0.1:{fake.port}"
        stranger = connect(urls.parse("main", f"postmark://{KEY}@?base={base}"))
        friend = connect(urls.parse("main", f"postmark://{KEY}@?base={base}&ca_file={own.cert}"))
        with pytest.raises(BackendUnusable, match="certificate verify failed") as caught:
            await stranger.probe()
        assert (await friend.probe()).startswith("Postmark: key valid")
        await stranger.close()
        await friend.close()
    assert caught.value.lasting


@pytest.mark.parametrize("scheme", ROLES)
def test_every_provider_is_registered_and_says_its_sources(scheme):
    backend = connect(urls.parse("main", ROLES[scheme].address("https://api.example.com")))
    assert scheme in BACKENDS
    assert all(rule.source and rule.reason.endswith(".") for rule in backend.provider.facts.rules)


def test_a_provider_has_as_many_connections_as_it_needs_unless_somebody_says_otherwise(tmp_path):
    main, other = "ses://k1234567:s@?region=eu-west-1", "postmark://k1234567@"
    given = {"main": {"url": main}, "few": {"url": main, "connections": 3}, "other": {"url": other}}
    configs = backend_configs(Settings(directory=tmp_path, backends=given), main, "smtp://127.0.0.1:25")
    found = {name: config.connections for name, config in configs.items()}
    assert found == {
        "main": 64, "few": 3, "other": 10, "ses://?region=eu-west-1": 64, "smtp://127.0.0.1:25": 10,
    }  # fmt: skip


def test_those_with_a_test_mode_are_known_by_name():
    assert set(SANDBOXES) == {name for name, role in ROLES.items() if role.sandbox}


def test_a_backend_without_a_test_mode_is_refused_with_those_that_have_one():
    with pytest.raises(ConfigError, match="'main': it has no test mode; these have one: postmark, resend"):
        sandboxed(urls.parse("main", "mandrill://k1234567@"))
    assert sandboxed(urls.parse("main", "ses://k:s@?region=eu-west-1")).options["sandbox"] == "true"


def test_an_account_in_earnest_may_name_the_inbox_of_its_test_mode():
    live = urls.parse("main", "mailtrap://k1234567@?inbox=77")
    for config, base in (
        (live, "https://send.api.mailtrap.io"),
        (sandboxed(live), "https://sandbox.api.mailtrap.io"),
    ):
        assert connect(config)._account.base == base
    with pytest.raises(ConfigError, match="the sandbox needs the number of its inbox"):
        connect(sandboxed(urls.parse("main", "mailtrap://k1234567@")))


async def test_a_connection_in_use_is_closed_when_it_is_given_back():
    asked, answer, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()
        gone.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        backend = connect(urls.parse("main", f"mailgun://key@acme.example?base=http://127.0.0.1:{port}"))
        probing = asyncio.create_task(backend.probe())
        await asked.wait()
        await backend.close()
        answer.set()
        await asyncio.gather(probing, return_exceptions=True)
        await asyncio.wait_for(gone.wait(), PATIENCE)
