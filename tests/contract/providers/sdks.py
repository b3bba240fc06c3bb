"""What the comparisons with the providers' own libraries share: one message, and the library it takes."""

from __future__ import annotations

import importlib
import importlib.util
import os
from base64 import b64encode
from typing import Any

import pytest

from mailer.message import Outgoing
from tests.contract.providers.letters import PDF, PNG, letter

TEXT, HTML = "Hello Ada,\nhow are you?\n", '<p class="a">Hello Ädä</p><img src="cid:logo@mailer">\n'
SUBJECT = "Grüße: 50 % off"
LOGO, BILL = b64encode(PNG).decode(), b64encode(PDF).decode()


def need(module: str) -> Any:
    if importlib.util.find_spec(module) is None:
        message = f"{module} is not installed: pip install -e '.[dev]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return importlib.import_module(module)


def same_message(*, image: bool = True, name: str = "Acme ") -> Outgoing:
    """With everything, or without the ``image`` or the sender's ``name``, which some cannot express."""
    return letter(
        1,
        to="Ada Lövelace <ada@example.org>",
        cc=["Charles <c@example.net>"],
        bcc=["hidden@example.net"],
        reply_to=["Help <help@acme.example>"],
        subject=SUBJECT,
        text=TEXT,
        html=HTML.removesuffix('<img src="cid:logo@mailer">\n'),
        more={"X-Entity": "7"},
        image=image,
        file=True,
        sender=f"{name}<news@acme.example>",
    )
