"""A backend that another package brings along, by its entry point."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mailer.backends import connect, default_connections, default_rates, known, sandboxed, urls
from mailer.errors import ConfigError

MODULE = """
from mailer.backends.account import account
from mailer.backends.http import HttpBackend
from mailer.backends.provider import Facts

FACTS = Facts("Acme Mail", {"": "https://api.acme.example"}, rules=(), requests=("5/s",), calls=7, batch=20)


def connect(config):
    own = account(config, FACTS, ("sandbox",))
    return HttpBackend(own, Acme())


class Acme:
    facts = FACTS
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch):
    """A package as pip installs it."""
    about = tmp_path / "acme_mail-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-mail\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[mailer.backends]\nacme = acme_mail_of_a_test:connect\n")
    (tmp_path / "acme_mail_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield urls.parse("main", "acme://key01234567@")
    sys.modules.pop("acme_mail_of_a_test", None)


async def test_it_is_used_as_ours_are(acme):
    backend = connect(acme)
    limits = backend.limits
    await backend.close()

    assert known("acme")
    assert (limits.batch, limits.concurrency) == (20, 10)
    assert default_rates(acme) == ("100/s",)
    assert default_connections(acme) == 7
    assert sandboxed(acme).options == {"sandbox": "true"}


def test_its_options_are_checked_as_ours_are(acme):
    with pytest.raises(ConfigError, match="'main': Acme Mail has no IP pools to choose from"):
        connect(urls.parse("main", "acme://key01234567@?pool=news"))


def test_a_name_like_it_is_no_riddle(acme):
    with pytest.raises(ConfigError, match=r"unknown backend 'acmee', .*did you mean 'acme'"):
        connect(urls.parse("main", "acmee://key01234567@"))
