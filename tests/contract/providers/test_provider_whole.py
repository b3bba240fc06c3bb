"""Whole requests, written out, of those that have no library to be held beside: Netcore, Mailgun, Postal.

And what Nylas is told in headers, which its library leaves to whoever writes the MIME.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest

from mailer.backends import connect, urls
from mailer.backends.http import HttpBackend
from mailer.backends.provider import Letter, Request
from tests.contract.providers.fake import Recorded
from tests.contract.providers.letters import PDF, letter
from tests.contract.providers.role import KEY
from tests.contract.providers.roles.mailgun import form

SENDER = {"email": "news@acme.example", "name": "Acme Grüße, Inc."}
TEXT, HTML = "Hello Ada,\nhow are you?\n", '<p class="a">Hello Ädä,<br>\nhow are you?</p>\n'
PDF_PART = {"name": "rechnung für ada.pdf", "content": b64encode(PDF).decode()}
HELP = "help@acme.example"
PERSON = {
    "to": [{"email": "ada@example.org", "name": "Ada"}],
    "cc": [{"email": "c@example.net"}],
    "bcc": [{"email": "hidden@example.net"}],
    "headers": {"X-Entity": "7"},
}


def backend_of(url: str) -> HttpBackend:
    backend = connect(urls.parse("main", url))
    assert isinstance(backend, HttpBackend)
    return backend


def everything(**more: Any) -> Letter:
    shape = {"cc": ["Charles <c@example.net>"], "bcc": ["hidden@example.net"], "file": True, **more}
    message = letter(1, to="Ada <ada@example.org>", more={"X-Entity": "7"}, **shape)
    message.tags = ("news",)
    return Letter(message)


def netcore(more: str, **shape: Any) -> tuple[Request, dict[str, Any]]:
    """Without what webhooks are matched by, which is tried elsewhere."""
    request = backend_of(f"netcore://{KEY}@?{more}").provider.request([everything(**shape)])
    body = json.loads(request.content)
    assert json.loads(body["personalizations"][0].pop("token_to"))
    return request, body


def test_netcore_as_it_was():
    request, body = netcore("", text=None, reply_to=[f"Help <{HELP}>"])
    assert request.headers["api_key"] == KEY
    assert "Authorization" not in request.headers
    assert body == {
        "from": SENDER,
        "reply_to": HELP,
        "subject": "number 1",
        "content": [{"type": "html", "value": HTML}],
        "personalizations": [PERSON],
        "attachments": [PDF_PART],
        "tags": ["news"],
    }


def test_netcore_as_it_is_now():
    request, body = netcore("version=v6", reply_to=[f"Help <{HELP}>", "b@acme.example"])
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert "api_key" not in request.headers
    assert body["reply_to"] == [{"email": HELP, "name": "Help"}, {"email": "b@acme.example"}]
    assert body["content"] == [{"type": "text/plain", "value": TEXT}, {"type": "text/html", "value": HTML}]


@pytest.mark.parametrize(
    ("more", "header", "value"),
    [
        ("version=v6&auth=x-api-key", "Authorization", f"x-api-key {KEY}"),
        ("version=v6&auth=api_key", "api_key", KEY),
        ("auth=bearer", "Authorization", f"Bearer {KEY}"),
        ("auth=x-api-key", "Authorization", f"x-api-key {KEY}"),
    ],
)
def test_netcores_key_in_each_of_its_places(more, header, value):
    request, _ = netcore(more, text=None)
    assert {name: request.headers.get(name) for name in ("api_key", "Authorization")} == {
        "api_key": None,
        "Authorization": None,
        header: value,
    }


#: Version and options, a message, and whether that can be sent.
NETCORE_TAKES = [
    ("", {"text": None}, True),
    ("", {}, False),
    ("", {"html": None}, False),
    ("text=drop", {}, True),
    ("text=drop", {"html": None}, False),
    ("text=refuse", {}, False),
    ("version=v6", {}, True),
    ("version=v6", {"html": None}, True),
    ("version=v6&text=drop", {}, True),
    ("version=v6", {"image": True}, False),
    ("version=v6", {"reply_to": ["a@b.example", "c@b.example"]}, True),
    ("version=v5", {"text": None, "reply_to": ["a@b.example", "c@b.example"]}, False),
    ("template=12", {}, True),
    ("template=12", {"html": None}, True),
]


@pytest.mark.parametrize(("more", "shape", "taken"), NETCORE_TAKES)
def test_what_netcore_takes(more, shape, taken):
    backend = backend_of(f"netcore://{KEY}@?{more}")
    assert (backend.complaints(everything(**shape).message) == []) is taken


@pytest.mark.parametrize(("more", "kind"), [("text=drop", "html"), ("version=v6&text=drop", "text/html")])
def test_a_text_that_may_be_dropped_at_netcore_does_not_go_there(more, kind):
    _, body = netcore(more)
    assert body["content"] == [{"type": kind, "value": HTML}]


def test_a_text_without_html_at_netcore():
    _, body = netcore("version=v6", html=None)
    assert body["content"] == [{"type": "text/plain", "value": TEXT}]


def test_mailgun_gets_the_message_as_it_is_and_everybody_by_name():
    one = everything()
    request = backend_of(f"mailgun://{KEY}@mg.acme.example").provider.request([one])
    headers = {name.lower(): value for name, value in request.headers.items()}
    parts = form(Recorded(request.method, request.path, headers, request.content))
    people = [b"ada@example.org", b"c@example.net", b"hidden@example.net"]
    assert [value for name, value in parts if name == "to"] == people
    assert dict(parts)["message"] == one.message.data
    assert b64decode(headers["authorization"].removeprefix("Basic ")).decode() == f"api:{KEY}"
    assert headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("recipients", "head"),
    [
        (("staging@acme.example",), b"To: <staging@acme.example>\r\n"),
        (
            ("staging@acme.example", "c@example.net"),
            b"To: <staging@acme.example>\r\nCc: <c@example.net>\r\n",
        ),
    ],
)
def test_nylas_reads_the_envelope_in_the_headers(recipients, head):
    one = Letter(letter(1, cc=["Charles <c@example.net>"], file=True))
    one.message.recipients = recipients
    request = backend_of(f"nylas://{KEY}@grant-1").provider.request([one])
    assert request.repeatable
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["idempotency-key"] == one.message.idempotency_key
    ((name, mime),) = form(Recorded(request.method, request.path, headers, request.content))
    told, _, body = mime.partition(b"\r\n\r\n")
    assert name == "mime"
    assert head in told + b"\r\n"
    assert told.count(b"\nTo: ") + told.startswith(b"To: ") == 1
    assert (b"Cc: " in told) is (len(recipients) == 2)
    assert b"ovelace" not in told  # whom the header named gets nothing
    assert body == one.message.data.partition(b"\r\n\r\n")[2]


def test_postal_gets_the_message_as_it_is_and_the_envelope():
    one = everything()
    one.message.sender, one.message.tags = "bounces@acme.example", ()
    request = backend_of(f"postal://{KEY}@postal.acme.example").provider.request([one])
    assert request.headers["X-Server-API-Key"] == KEY
    assert json.loads(request.content) == {
        "mail_from": "bounces@acme.example",
        "rcpt_to": ["ada@example.org", "c@example.net", "hidden@example.net"],
        "data": b64encode(one.message.data).decode(),
    }
