"""An application's folder: two templates, a ledger, and a backend that writes every message to a file."""

from __future__ import annotations

import email
import email.policy
import subprocess
import sys
from pathlib import Path

import pytest

from mailer import Mailer
from tests.servers import PATIENCE

TEMPLATES = {
    "receipt/mail.toml": """
        from = "Acme Shop <shop@acme.example>"
        subject = "Your order {{ order.number }}"
        reply_to = "help@acme.example"
        variables = ["order", "total"]
        [languages.de]
        subject = "Ihre Bestellung {{ order.number }}"
    """,
    "receipt/body.txt": "{{ name | default('Dear customer') }}, you paid {{ total }}.\n",
    "receipt/body.de.txt": "{{ name | default('Guten Tag') }}, Sie zahlten {{ total }}.\n",
    "reset/mail.toml": """
        from = "Acme <security@acme.example>"
        subject = "Your new password"
        sensitive = true
        on_unknown = "retry"
    """,
    "reset/body.txt": "Open https://acme.example/reset/{{ token }}\n",
}
DATA = {"order": {"number": 7}, "total": "12.50"}


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = folder / "out"
        (folder / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n')
        for name, text in TEMPLATES.items():
            (folder / "templates" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "templates" / name).write_text(text)

    def sent(self, *to: str) -> list[email.message.EmailMessage]:
        """All, in no order; or those to each of these addresses in turn."""
        found = [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in self.outbox.glob("new/*")
        ]
        return [message for one in to for message in found if message["To"] == one] if to else found


def in_an_application(site: Site, script: str) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, which may fork and end as it likes."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=site.folder,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path)


@pytest.fixture
def mailer(site):
    """Delivers when it is closed, or before."""
    with Mailer() as mailer:
        yield mailer


@pytest.fixture
def stored(site):
    """Hands messages over to workers that are not there."""
    with Mailer(deliver="workers") as mailer:
        yield mailer
