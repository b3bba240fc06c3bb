"""Tags and metadata of a message: they go to providers that have a place for them, beside the account's."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from mailer.backends import connect, urls
from mailer.backends.provider import Letter
from mailer.errors import ConfigError
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


#: Provider, tags, metadata, and what it is refused for.
REFUSED = [
    ("postmark", ("a", "b"), {}, "Postmark cannot send 2 tags, the limit is 1"),
    ("postmark", ("a" * 1001,), {}, "Postmark cannot send a tag over 1000 characters"),
    ("mailtrap", ("a", "b"), {}, "Mailtrap cannot send 2 tags, the limit is 1"),
    ("mailtrap", ("a" * 256,), {}, "Mailtrap cannot send a tag over 255 characters"),
    ("mailtrap", (), {"order": "7" * 900}, "Mailtrap cannot send metadata over 1000 octets"),
    ("sendgrid", tuple("abcdefghijk"), {}, "SendGrid cannot send 11 tags, the limit is 10"),
    ("sendgrid", ("a" * 256,), {}, "SendGrid cannot send a tag over 255 characters"),
    ("sendgrid", (), {"order": "7" * 10_000}, "SendGrid cannot send metadata over 10000 octets"),
    ("mailgun", ("a" * 129,), {}, "Mailgun cannot send a tag over 128 characters"),
    ("mailgun", (), {"order": "7" * 16_000}, "Mailgun cannot send metadata over 16000 octets"),
    ("mailjet", ("a", "b"), {}, "Mailjet cannot send 2 tags, the limit is 1"),
    ("mailersend", tuple("abcdef"), {}, "MailerSend cannot send 6 tags, the limit is 5"),
    ("mailersend", (), {"order": "7"}, "MailerSend cannot send metadata"),
    ("sparkpost", tuple("abcdefghijk"), {}, "SparkPost cannot send 11 tags, the limit is 10"),
    ("sparkpost", ("a" * 65,), {}, "SparkPost cannot send a tag over 64 characters"),
    ("sparkpost", (), {"order": "7" * 10_000}, "SparkPost cannot send metadata over 10000 octets"),
    ("resend", ("a" * 257,), {}, "Resend cannot send a tag over 256 characters"),
    ("resend", (), {"order": "7"}, "Resend cannot send metadata"),
    ("ses", ("receipt 7",), {}, "Amazon SES cannot send the tag 'receipt 7'"),
    ("ses", (), {"order": "ü"}, "Amazon SES cannot send the metadata 'order'"),
    ("brevo", (), {"order": "7"}, "Brevo cannot send metadata"),
    *(
        (name, ("a",), {}, "cannot send tags")
        for name in ("nylas", "mandrill", "scaleway", "azure", "postal")
    ),
    *((name, (), {"a": "b"}, "cannot send metadata") for name in ("nylas", "mandrill", "scaleway", "azure")),
]


@pytest.mark.parametrize(("name", "tags", "metadata", "words"), REFUSED)
def test_more_of_them_than_a_provider_takes_are_refused_by_name_unless_they_may_be_dropped(
    name, tags, metadata, words
):
    plain = {**ROLES[name].plain, "more": {}}
    message = replace(letter(1, **plain), tags=tags, metadata=tuple(metadata.items()))
    for more, expected in (("", 1), ("labels=drop", 0)):
        backend = connect(urls.parse("main", ROLES[name].address("http://127.0.0.1:1", more)))
        found = backend.complaints(message)
        assert len(found) == expected
        assert all(words in one for one in found)


#: Those that take one of each, and those that take a tag alone.
BOTH = ("postmark", "sendgrid", "mailtrap", "mailgun", "netcore", "ses", "mailjet", "sparkpost")
TAG_ALONE = ("resend", "brevo", "mailersend")


@pytest.mark.parametrize("name", [*BOTH, *TAG_ALONE])
def test_what_has_its_place_is_no_reason_to_refuse(name):
    message = replace(letter(1, **ROLES[name].plain), tags=("receipt-7",))
    if name in BOTH:
        message = replace(message, metadata=(("order", "7"),))
    backend = connect(urls.parse("main", ROLES[name].address("http://127.0.0.1:1")))
    assert backend.complaints(message) == []


def test_what_is_dropped_is_what_has_no_place():
    body = asked("mailersend", "labels=drop", replace(letter(1), tags=tuple("abcdef"))).json
    assert body["tags"] == [*"abcde"]
    body = asked("mailtrap", "template=t-1&labels=drop", replace(letter(1), tags=("a",))).json
    assert "category" not in first(body)


def test_a_template_at_mailtrap_has_no_category():
    backend = connect(urls.parse("main", ROLES["mailtrap"].address("http://127.0.0.1:1", "template=t-1")))
    assert backend.complaints(replace(letter(1), tags=("a",))) == ["Mailtrap cannot send tags"]


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("postmark", "tags=a,b", "Postmark cannot send 2 tags, the limit is 1: see options 'tags'"),
        ("ses", "metadata=a=b c", "Amazon SES cannot send the metadata 'a'"),
        ("mailtrap", "template=t-1&tags=a", "Mailtrap cannot send tags with a template"),
    ],
)
def test_those_of_an_account_are_checked_with_the_settings(name, more, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        connect(urls.parse("main", ROLES[name].address("http://127.0.0.1:1", more.replace(" ", "%20"))))


def test_pairs_of_ses_hold_both():
    body = asked("ses", "tags=all&metadata=team=crm", replace(letter(1), tags=("a",), metadata=(("b", "c"),)))
    assert body.json["EmailTags"] == [
        {"Name": name, "Value": value}
        for name, value in (("a", "yes"), ("all", "yes"), ("team", "crm"), ("b", "c"))
    ]
