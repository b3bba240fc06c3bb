"""What the comparisons with the providers' own libraries share: one message, and the library it takes."""

from __future__ import annotations

import importlib
import importlib.util
import os
from base64 import b64encode
from dataclasses import replace
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


#: What an application gave the message, as the providers' libraries are given it.
TAG, METADATA = "receipt-7", {"order": "7"}
#: What webhooks are matched by, beside them.
IDS = {"campaign": "november-7f3a", "message": f"{1:024x}@acme.example"}
#: The same where neither @ nor dots may be.
PLAIN_IDS = {"campaign": "november-7f3a", "message": f"{1:024x}"}


def same_message(
    *, image: bool = True, name: str = "Acme ", tags: bool = True, metadata: bool = True
) -> Outgoing:
    """With everything, or without what some cannot express: the ``image``, the sender's ``name``, labels."""
    message = letter(
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
    return replace(
        message,
        tags=(TAG,) if tags else (),
        metadata=tuple(METADATA.items()) if metadata else (),
        campaign=IDS["campaign"],
    )


def plain_message() -> Outgoing:
    """The least that there is: from one to one, a subject, one body."""
    message = letter(1, to="ada@example.org", subject="Hello", text=None, html=PLAIN, sender=PLAIN_SENDER)
    return replace(message, idempotency_key="")


PLAIN, PLAIN_SENDER = "<p>Hello</p>\n", "news@acme.example"
