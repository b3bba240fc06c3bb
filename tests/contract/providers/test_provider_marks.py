"""Tags and metadata of a message: they go to providers that have a place for them, beside the account's."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from typing import Any

import pytest

from mailer.backends import connect, urls
from mailer.backends.marks import RELAYS, relayed
from mailer.backends.provider import Letter
from mailer.errors import ConfigError
from tests.contract.providers.fake import Recorded
from tests.contract.providers.letters import letter
from tests.contract.providers.registry import ROLES
from tests.contract.providers.roles.mailgun import form

TAGS = ("receipt 7", "b", "c")
METADATA = (("order", "7"), ("message", "mine"))
MARKED = replace(letter(1), tags=TAGS, metadata=METADATA, campaign="november-7f3a")
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
        ("mailersend", "tags", [*TAGS, "all", "november-7f3a"], None),
    ],
)
def test_they_stand_beside_those_of_the_account(name, tags, their_tags, metadata):
    body = first(asked(name, "tags=all" + ("&metadata=team=crm" if metadata else ""), MARKED).json)
    without = first(asked(name, "tags=all", letter(1)).json)

    assert body[tags] == their_tags
    assert without[tags] == (["all"] if isinstance(their_tags, list) else "all")  # it has no campaign
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

    assert [tag["name"] for tag in body["tags"]] == ["campaign", "message", "receipt_7", "b", "c"]


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
    (
        "ses",
        tuple(f"t{n}" for n in range(40)),
        dict.fromkeys("abcdefghi", "x"),
        "Amazon SES cannot send 51 tags and pairs",
    ),
    ("mailgun", ("für",), {}, "Mailgun cannot send the tag 'für'"),
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
    ("mandrill", ("_a",), {}, "Mandrill cannot send the tag '_a'"),
    ("mandrill", ("a,b",), {}, "Mandrill cannot send the tag 'a,b'"),
    ("mandrill", ("a" * 51,), {}, "Mandrill cannot send a tag over 50 characters"),
    ("postal", ("a", "b"), {}, "Postal cannot send 2 tags, the limit is 1"),
    (
        "postmark",
        (),
        dict.fromkeys("abcdefghi", "x"),
        "Postmark cannot send 9 pairs, the limit is 10 with ours",
    ),
    ("postmark", (), {"a" * 21: "x"}, "Postmark cannot send a name in metadata over 20 characters"),
    ("postmark", (), {"a": "x" * 81}, "Postmark cannot send a value in metadata over 80 characters"),
    *((name, ("a",), {}, "cannot send tags") for name in ("nylas", "scaleway", "azure")),
    *((name, (), {"a": "b"}, "cannot send metadata") for name in ("nylas", "scaleway", "azure", "postal")),
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
BOTH = ("postmark", "sendgrid", "mailtrap", "mailgun", "netcore", "ses", "mailjet", "sparkpost", "mandrill")
TAG_ALONE = ("resend", "brevo", "mailersend", "postal")


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
        for name, value in (
            ("message", f"{1:024x}"),
            ("a", "yes"),
            ("all", "yes"),
            ("team", "crm"),
            ("b", "c"),
        )
    ]


def test_those_of_account_and_message_are_counted_together():
    message = replace(letter(1), metadata=tuple(dict.fromkeys("abcde", "x").items()))
    backend = connect(
        urls.parse("main", ROLES["postmark"].address("http://127.0.0.1:1", "metadata=k=1,l=2,m=3,n=4"))
    )
    (found,) = backend.complaints(message)
    assert found.endswith("5 pairs, the limit is 10 with the account's 4 and ours for campaign and message")


# What webhooks are matched by.

CAMPAIGN = "november-7f3a"
PAIR = [CAMPAIGN, f"{1:024x}@acme.example"]
#: Where neither @ nor dots may be.
PLAIN = [CAMPAIGN, f"{1:024x}"]


def named(pairs: list[dict[str, str]], name: str = "name", value: str = "value") -> dict[str, str]:
    return {pair[name]: pair[value] for pair in pairs}


def both(found: dict[str, Any], prefix: str = "") -> list[str]:
    return [found[f"{prefix}campaign"], found[f"{prefix}message"]]


def headers_of(octets: bytes, *names: str) -> list[str]:
    """Unfolded, from a message's octets."""
    parsed = message_from_bytes(octets)
    return [" ".join(str(parsed[name]).split()) for name in names]


def of_mime(octets: bytes, name: str) -> list[str]:
    return both(json.loads(headers_of(octets, name)[0]))


IDS = ("campaign", "message")
OURS = ("X-Mailer-Campaign", "X-Mailer-Message")
#: Provider, and what its request says of campaign and message.
PLACES: dict[str, tuple[Callable[[Recorded], list[str]], list[str]]] = {
    "postmark": (lambda sent: both(sent.json[0]["Metadata"]), PAIR),
    "resend": (lambda sent: both(named(sent.json["tags"])), PLAIN),
    "sendgrid": (lambda sent: both(sent.json["personalizations"][0]["custom_args"], "mailer_"), PAIR),
    "mailtrap": (lambda sent: both(sent.json["requests"][0]["custom_variables"]), PAIR),
    "mailgun": (lambda sent: [dict(form(sent))[f"v:{name}"].decode() for name in IDS], PAIR),
    "netcore": (lambda sent: both(json.loads(sent.json["personalizations"][0]["token_to"])), PAIR),
    "nylas": (
        lambda sent: headers_of(dict(form(sent))["mime"], OURS[0], "Message-ID"),
        [CAMPAIGN, f"<{PAIR[1]}>"],
    ),
    "ses": (lambda sent: both(named(sent.json["EmailTags"], "Name", "Value")), PLAIN),
    "brevo": (lambda sent: both(json.loads(sent.json["headers"]["X-Mailin-custom"])), PAIR),
    "mailersend": (lambda sent: sent.json["tags"], [CAMPAIGN]),
    "mailjet": (lambda sent: both(json.loads(sent.json["Messages"][0]["EventPayload"])), PAIR),
    "sparkpost": (lambda sent: both(sent.json["metadata"]), PAIR),
    "mandrill": (lambda sent: of_mime(sent.json["raw_message"].encode(), "X-MC-Metadata"), PAIR),
    "scaleway": (lambda sent: [named(sent.json["additional_headers"], "key")[one] for one in OURS], PAIR),
    "azure": (lambda sent: [sent.json["headers"][one] for one in OURS], PAIR),
    "postal": (
        lambda sent: headers_of(b64decode(sent.json["data"]), "X-Postal-Tag", "Message-ID"),
        [CAMPAIGN, f"<{PAIR[1]}>"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
def test_campaign_and_message_go_along(name):
    """Nothing else of ours does: no row, no address beside those that it is sent to."""
    place, expected = PLACES[name]
    message = replace(letter(1, **ROLES[name].plain), campaign=CAMPAIGN)
    assert place(asked(name, "", message)) == expected


def test_campaigns_are_what_reports_are_grouped_by_where_there_is_no_tag():
    message = replace(letter(1), campaign=CAMPAIGN)
    mailjet, sparkpost = asked("mailjet", "", message).json, asked("sparkpost", "", message).json
    assert (first(mailjet)["CustomCampaign"], first(mailjet)["CustomID"]) == (CAMPAIGN, PAIR[1])
    assert sparkpost["campaign_id"] == CAMPAIGN
    assert asked("sparkpost", "", MARKED).json["campaign_id"] == TAGS[0]
    tagged = replace(MARKED, tags=tuple("abcde"))
    assert asked("mailersend", "", tagged).json["tags"] == [*"abcde"]  # its five are its own


#: Those that get several messages in one request, and where each item says which it is.
ITEMS: dict[str, Callable[[Any], list[Any]]] = {
    "postmark": lambda body: [one["Metadata"]["message"] for one in body],
    "resend": lambda body: [named(one["tags"])["message"] for one in body],
    "mailtrap": lambda body: [one["custom_variables"]["message"] for one in body["requests"]],
    "mailjet": lambda body: [one["CustomID"] for one in body["Messages"]],
    "sendgrid": lambda body: [one["custom_args"]["mailer_message"] for one in body["personalizations"]],
}


@pytest.mark.parametrize("name", ITEMS)
def test_each_of_a_batch_has_its_own(name):
    found = ITEMS[name](asked(name, "", *(letter(number) for number in (1, 2, 3))).json)
    assert [one.partition("@")[0] for one in found] == [f"{number:024x}" for number in (1, 2, 3)]


def test_what_an_application_calls_its_campaign_stays():
    own = replace(MARKED, metadata=(("campaign", "mine"),))
    assert both(asked("postmark", "", own).json[0]["Metadata"]) == ["mine", IDENTITY]


def test_a_long_message_id_goes_without_its_domain():
    far = replace(letter(1), message_id=f"<{1:024x}@{'a' * 60}.example>")
    assert asked("postmark", "", far).json[0]["Metadata"]["message"] == f"{1:024x}"
    assert asked("mailtrap", "", far).json["requests"][0]["custom_variables"][
        "message"
    ] == far.message_id.strip("<>")


#: By SMTP: relay, its header, and what that holds for MARKED.
HEADERS = [
    ("postmark", "X-PM-Metadata-campaign", CAMPAIGN),
    ("postmark", "X-PM-Metadata-message", IDENTITY),
    ("sendgrid", "X-SMTPAPI", {"unique_args": {"mailer_campaign": CAMPAIGN, "mailer_message": IDENTITY}}),
    ("mailtrap", "X-MT-Custom-Variables", {"campaign": CAMPAIGN, "message": IDENTITY}),
    ("mailgun", "X-Mailgun-Variables", {"campaign": CAMPAIGN, "message": IDENTITY}),
    ("ses", "X-SES-MESSAGE-TAGS", f"campaign={CAMPAIGN}, message={1:024x}"),
    ("brevo", "X-Mailin-custom", {"campaign": CAMPAIGN, "message": IDENTITY}),
    ("mailersend", "X-MailerSend-Tags", CAMPAIGN),
    ("mailjet", "X-Mailjet-Campaign", CAMPAIGN),
    ("mailjet", "X-MJ-CustomID", IDENTITY),
    ("mailjet", "X-MJ-EventPayload", {"campaign": CAMPAIGN, "message": IDENTITY}),
    (
        "sparkpost",
        "X-MSYS-API",
        {"campaign_id": CAMPAIGN, "metadata": {"campaign": CAMPAIGN, "message": IDENTITY}},
    ),
    ("mandrill", "X-MC-Metadata", {"campaign": CAMPAIGN, "message": IDENTITY}),
    ("netcore", "X-APIHEADER", {"campaign": CAMPAIGN, "message": IDENTITY}),
    ("postal", "X-Postal-Tag", CAMPAIGN),
    *(
        (name, header, value)
        for name in ("scaleway", "azure")
        for header, value in zip(OURS, PAIR, strict=True)
    ),
]


@pytest.mark.parametrize(("relay", "header", "expected"), HEADERS)
def test_a_relay_is_told_by_its_header(relay, header, expected):
    sent = relayed(relay, replace(letter(1), campaign=CAMPAIGN))

    assert sent.data.endswith(letter(1).data)
    (found,) = headers_of(sent.data, header)
    assert (json.loads(found) if isinstance(expected, dict) else found) == expected


def test_every_relay_is_tried():
    assert {relay for relay, _, _ in HEADERS} == set(RELAYS)


#: What tags and metadata of one message become.
LABELS = [
    ("postmark", "X-PM-Tag", "receipt"),
    ("postmark", "X-PM-Metadata-order", "7 ü"),
    ("sendgrid", "X-SMTPAPI", '"category": ["receipt"]'),
    ("mailgun", "X-Mailgun-Tag", "receipt"),
    ("mailtrap", "X-MT-Category", "receipt"),
    ("mandrill", "X-MC-Tags", "receipt"),
    ("mailjet", "X-Mailjet-Campaign", "receipt"),
    ("postal", "X-Postal-Tag", None),  # it has no place for metadata, so neither goes along
]


@pytest.mark.parametrize(("relay", "header", "expected"), LABELS)
def test_a_relay_is_told_tags_and_metadata_where_there_is_a_place(relay, header, expected):
    message = replace(letter(1), tags=("receipt",), metadata=(("order", "7 ü"),))
    parsed = message_from_bytes(relayed(relay, message).data)
    found = parsed[header] and str(make_header(decode_header(" ".join(parsed[header].split()))))
    assert found is None if expected is None else expected in found


def test_a_header_of_the_message_s_own_stays_the_only_one():
    sent = relayed("postmark", replace(letter(1, more={"X-PM-Tag": "mine"}), tags=("theirs",)))
    assert message_from_bytes(sent.data).get_all("X-PM-Tag") == ["mine"]


def test_no_line_is_too_long_or_another_header():
    odd = replace(letter(1), metadata=(("note", "a\r\nX-Evil: 1 " + "word " * 400), ("n", "ä\n")))
    sent = relayed("mailgun", odd)
    head = sent.data.partition(b"\r\n\r\n")[0]

    assert max(map(len, head.split(b"\r\n"))) < 998
    assert "X-Evil" not in message_from_bytes(sent.data)
    assert json.loads(message_from_bytes(sent.data)["X-Mailgun-Variables"].replace("\r\n", "")) == {
        **dict(odd.metadata),
        "message": IDENTITY,
    }
    endless = replace(letter(1), metadata=(("note", "x" * 2000),))  # nowhere to break it: the ids go alone
    assert of_ids(relayed("mailgun", endless).data) == {"message": IDENTITY}


def of_ids(octets: bytes) -> Any:
    return json.loads(headers_of(octets, "X-Mailgun-Variables")[0])


async def test_through_a_real_relay(mailer_sink):
    sink = mailer_sink()
    message = replace(letter(1, bcc=["hidden@example.net"]), campaign=CAMPAIGN)
    backend = connect(urls.parse("main", f"smtp://127.0.0.1:{sink.port}?tls=none&marks=sendgrid"))

    async def yes(_: Any) -> bool:
        return True

    (outcome,) = await backend.send([message], yes)
    await backend.close()

    assert type(outcome).__name__ == "Accepted"
    sink.stop()
    (stored,) = sink.messages()
    assert headers_of(stored.data, "X-SMTPAPI")
    assert message.data == letter(1, bcc=["hidden@example.net"]).data  # as it was, for another backend
