"""Tags and metadata of a message: they go to providers that have a place for them, beside the account's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mailer.backends import connect, urls
from mailer.backends.provider import Letter
from tests.contract.providers.fake import Recorded
from tests.contract.providers.letters import letter
from tests.contract.providers.registry import ROLES
from tests.contract.providers.roles.mailgun import form

TAGS = ("receipt 7", "b", "c")
METADATA = (("order", "7"), ("message_id", "mine"))
MARKED = replace(letter(1), tags=TAGS, metadata=METADATA)
IDENTITY = MARKED.message_id.strip("<>")


def asked(name: str, more: str, *messages) -> Recorded:
    """The request of these messages."""
    provider = connect(urls.parse("main", ROLES[name].address("http://127.0.0.1:1", more))).provider
    request = provider.request([Letter(one) for one in messages])
    headers = {key.lower(): value for key, value in request.headers.items()}
    return Recorded(request.method, request.path, headers, request.content)


def first(body):
    """The message itself, wherever a provider puts it."""
    body = body[0] if isinstance(body, list) else body
    for place in ("Messages", "requests"):
        body = body[place][0] if place in body else body
    return body


@pytest.mark.parametrize(
    ("name", "tags", "their_tags", "metadata"),
    [
        ("postmark", "Tag", "receipt 7", lambda body: body["Metadata"]),
        ("mailtrap", "category", "receipt 7", lambda body: body["custom_variables"]),
        ("sparkpost", "campaign_id", "receipt 7", lambda body: body["metadata"]),
        ("mailjet", "CustomCampaign", "receipt 7", lambda body: json.loads(body["EventPayload"])),
        ("netcore", "tags", [*TAGS, "all"], lambda body: json.loads(body["personalizations"][0]["token_to"])),
        ("sendgrid", "categories", [*TAGS, "all"], lambda body: body["personalizations"][0]["custom_args"]),
        ("brevo", "tags", [*TAGS, "all"], None),
        ("mailersend", "tags", [*TAGS, "all"], None),
    ],
)
def test_they_stand_beside_those_of_the_account(name, tags, their_tags, metadata):
    body = first(asked(name, "tags=all" + ("&metadata=team=crm" if metadata else ""), MARKED).json)
    without = first(asked(name, "tags=all", letter(1)).json)

    assert body[tags] == their_tags
    assert without[tags] == (["all"] if isinstance(their_tags, list) else "all")
    assert "order" not in json.dumps(without)
    if metadata is None:
        assert "order" not in json.dumps(body)
    else:
        given = metadata(body)
        assert (given["order"], given["team"]) == ("7", "crm")


@pytest.mark.parametrize("name", ["postmark", "mailtrap", "sparkpost", "netcore"])
def test_the_id_that_webhooks_are_matched_by_cannot_be_overwritten(name):
    body = json.dumps(asked(name, "", MARKED).json)

    assert IDENTITY in body
    assert "mine" not in body


def test_a_form_cannot_be_broken_out_of():
    odd = replace(MARKED, metadata=(('a"\r\nX: 1\r\n\r\n', "v"),))

    fields = form(asked("mailgun", "", odd))

    assert ("v:a%22%0D%0AX: 1%0D%0A%0D%0A", b"v") in fields
    assert [value for name, value in fields if name == "o:tag"] == [b"receipt 7", b"b", b"c"]


def test_resend_takes_no_other_characters():
    body = asked("resend", "", MARKED).json

    assert [tag["name"] for tag in body["tags"]] == ["receipt_7", "b", "c"]


def test_messages_of_other_tags_do_not_share_a_request_of_one_content():
    provider = connect(urls.parse("main", ROLES["sendgrid"].address("http://127.0.0.1:1"))).provider

    same, alike, other = (Letter(one) for one in (letter(1), letter(2), replace(letter(3), tags=("x",))))

    assert provider.group(same) == provider.group(alike) != provider.group(other)
