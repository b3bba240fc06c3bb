"""A folder with a campaign in it, as a user would have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailer.campaigns.loading import load
from mailer.campaigns.prepared import Prepared, prepare

CAMPAIGN = """\
name = "November newsletter"
from = "Acme News <news@acme.example>"
subject = "Hello {{ first_name }}"
template = "news"
recipients = "list.csv"
"""


class Desk:
    """The user's folder; ``say`` writes a file, ``prepared`` does what every command does first."""

    campaign = CAMPAIGN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.say("campaign.toml", CAMPAIGN)
        self.say("templates/news/body.html", "<p>Hello {{ first_name }}</p>\n")
        self.say("templates/news/body.txt", "Hello {{ first_name }}\n")
        self.people(3)

    def say(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def people(self, count: int) -> None:
        rows = "".join(f"user{n}@example.com,Name {n}\n" for n in range(1, count + 1))
        self.say("list.csv", f"email,First Name\n{rows}")

    @contextmanager
    def prepared(self, overrides: dict[str, Any] | None = None) -> Iterator[Prepared]:
        spec = load(self.folder / "campaign.toml", overrides)
        with prepare(spec, template_root=self.folder / "templates", files_root=self.folder) as prepared:
            yield prepared


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mailer.db'}"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Any]:
    from mailer.ledger import open_ledger

    ledger = open_ledger(ledger_url)
    yield ledger
    ledger.close()
