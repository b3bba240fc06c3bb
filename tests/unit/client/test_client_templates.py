"""The templates that come along for applications."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailer import Attachment, Mailer
from mailer.content.manifest import manifest
from mailer.content.packages import load
from mailer.errors import MissingData
from mailer.testing import outbox

TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
OURS = ("receipt", "password-reset", "confirm-email", "invoice", "security-alert")


@pytest.mark.parametrize("name", OURS)
def test_its_sample_is_all_it_needs(name):
    about = manifest(load(TEMPLATES, name))

    with outbox(TEMPLATES, TEMPLATES) as box:
        Mailer().send(
            name, to="ann@example.org", data=about.sample, attachments=[Attachment("a.pdf", b"%PDF")]
        )
        with pytest.raises(MissingData) as caught:
            Mailer().send(name, to="ann@example.org")

    assert caught.value.missing == tuple(sorted(about.variables))
    assert set(about.variables) == set(about.sample)
    assert about.stream == "transactional"
    (sent,) = box.messages
    shown = re.sub(r"<[^>]+>", " ", sent.html)
    for value in filter(lambda value: isinstance(value, str) and value.isalpha(), about.sample.values()):
        assert value in sent.text or value in shown or value == "EUR"
    assert "{{" not in sent.html + sent.text
    assert 'lang="en"' in sent.html


def test_what_is_secret_and_what_may_come_twice_is_written_down():
    rules = {name: manifest(load(TEMPLATES, name)) for name in OURS}

    assert {name for name, about in rules.items() if about.sensitive} == {"password-reset", "confirm-email"}
    assert rules["invoice"].on_unknown == "hold"
    assert rules["password-reset"].on_unknown == "retry"
