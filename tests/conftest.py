"""What every test gets: a clean environment, and real servers on request."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mailer.sink.certificate import Certificate, self_signed
from tests import servers
from tests.proxy import TcpProxy

# Behind ``nohup``, or in the background of a script, these are ignored, and all that tests start inherits it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Deadlines and slowness measure the machine, not the code; in CI the same examples are tried every time.
slow = [HealthCheck.too_slow]
settings.register_profile("laptop", deadline=None, suppress_health_check=slow)
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=slow)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")

HOMES = ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests may leak in, and nothing of theirs is written to."""
    for name in [name for name in os.environ if name.startswith("MAILER_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name in HOMES:
        monkeypatch.setenv(name, str(home))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Whatever is entered here is left when the test ends."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def smtp_sink(stack: ExitStack) -> Callable[..., servers.SmtpSink]:
    """``smtp_sink("-q", "DATA")`` starts a Postfix smtp-sink with these options."""
    return lambda *args, **keywords: stack.enter_context(servers.smtp_sink(*args, **keywords))


@pytest.fixture
def redis_server(stack: ExitStack) -> servers.RedisServer:
    """A redis-server of this test's own."""
    return stack.enter_context(servers.redis_server())


@pytest.fixture
def mailer_sink(stack: ExitStack) -> Callable[..., servers.MailerSink]:
    """``mailer_sink(rules, **settings)`` starts our own sink: rules as TOML text, settings as keywords."""
    return lambda rules="", **settings: stack.enter_context(servers.mailer_sink(rules, **settings))


@pytest.fixture
def tcp_proxy(stack: ExitStack) -> Callable[..., TcpProxy]:
    """``tcp_proxy(port, delay=…)`` puts a proxy in front of a loopback port."""
    return lambda target, **keywords: stack.enter_context(TcpProxy(target, **keywords))


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., Certificate]:
    """``certificate("mail.example")`` makes a self-signed one; the default is for localhost."""

    def make(*names: str, **keywords: Any) -> Certificate:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        return self_signed(folder, names or ("localhost", "127.0.0.1"), **keywords)

    return make
