"""An event of each provider, as it documents them, leads to the row whose message it is about.

The event is made of what the provider was sent and what it answered, and of nothing else. The rows know their
campaign, their Message-ID and the reference that was recorded when they were accepted.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from mailer.backends import connect, urls
from mailer.message import Accepted, Outgoing
from tests.contract.providers.fake import Recorded, serving
from tests.contract.providers.letters import letter
from tests.contract.providers.registry import ROLES
from tests.contract.providers.roles.mailgun import form

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "providers.md"


@dataclass(frozen=True)
class Kept:
    """What results show of a row."""

    campaign: str
    message: str
    reference: str


def mime(octets: bytes, name: str) -> str:
    return " ".join(str(message_from_bytes(octets)[name]).split())


def flat(pairs: list[dict[str, str]], name: str = "name", value: str = "value") -> dict[str, str]:
    return {pair[name]: pair[value] for pair in pairs}


def mailgun(sent: Recorded, number: int, reference: str) -> Any:
    own = {name[2:]: value.decode() for name, value in form(sent) if name.startswith("v:")}
    return {
        "event-data": {"message": {"headers": {"message-id": reference.strip("<>")}}, "user-variables": own}
    }


def nylas(sent: Recorded, number: int, reference: str) -> Any:
    origin = {"mime_id": mime(dict(form(sent))["mime"], "Message-ID")}
    return {
        "type": "message.bounce_detected",
        "data": {"object": {"message_id": reference, "origin": origin}},
    }


def mailjet(sent: Recorded, number: int, reference: str) -> Any:
    one = sent.json["Messages"][number]
    names = {"CustomID": "CustomID", "Payload": "EventPayload", "customcampaign": "CustomCampaign"}
    return {"event": "sent", "MessageID": int(reference)} | {name: one[own] for name, own in names.items()}


def postal(sent: Recorded, number: int, reference: str) -> Any:
    octets = b64decode(sent.json["data"])
    own = {"message_id": mime(octets, "Message-ID").strip("<>"), "tag": mime(octets, "X-Postal-Tag")}
    return {"event": "MessageSent", "payload": {"message": {"id": int(reference), **own}}}


#: From a request, the place of a message in it and the id in the answer to one element of a webhook.
EVENTS: Mapping[str, Callable[[Recorded, int, str], Any]] = {
    "postmark": lambda sent, n, own: {"MessageID": own, "Metadata": sent.json[n]["Metadata"]},
    "resend": lambda sent, n, own: {"data": {"email_id": own, "tags": flat(sent.json[n]["tags"])}},
    "sendgrid": lambda sent, n, own: {
        "sg_message_id": f"{own}.filter0001.16648.5515E0B88.0",
        **sent.json["personalizations"][n]["custom_args"],
    },
    "mailtrap": lambda sent, n, own: {
        "message_id": own,
        "custom_variables": sent.json["requests"][n]["custom_variables"],
    },
    "mailgun": mailgun,
    "netcore": lambda sent, n, own: {
        "TRANSID": 16_230_000,
        "X-APIHEADER": sent.json["personalizations"][0]["token_to"],
    },
    "nylas": nylas,
    "ses": lambda sent, n, own: {
        "mail": {
            "messageId": own,
            "tags": {name: [tag] for name, tag in flat(sent.json["EmailTags"], "Name", "Value").items()},
        }
    },
    "brevo": lambda sent, n, own: {
        "message-id": own,
        "X-Mailin-custom": sent.json["headers"]["X-Mailin-custom"],
    },
    "mailersend": lambda sent, n, own: {
        "data": {"email": {"message": {"id": own}, "tags": sent.json["tags"]}}
    },
    "mailjet": mailjet,
    "sparkpost": lambda sent, n, own: {
        "transmission_id": own,
        "rcpt_meta": sent.json["metadata"],
        "campaign_id": sent.json["campaign_id"],
    },
    "mandrill": lambda sent, n, own: {
        "_id": own,
        "msg": {"metadata": json.loads(mime(sent.json["raw_message"].encode(), "X-MC-Metadata"))},
    },
    "scaleway": lambda sent, n, own: {
        "email_id": own,
        "email_headers": [
            {"name": one["key"], "value": one["value"]} for one in sent.json["additional_headers"]
        ],
    },
    "azure": lambda sent, n, own: {"data": {"messageId": own, "internetMessageId": "<x@azurecomm.net>"}},
    "postal": postal,
}  # fmt: skip

#: Where an event says which row it is about: campaign, message and the provider's own id.
PLACES = {
    "postmark": ("Metadata.campaign", "Metadata.message", "MessageID"),
    "resend": ("data.tags.campaign", "data.tags.message", "data.email_id"),
    "sendgrid": ("mailer_campaign", "mailer_message", "sg_message_id"),
    "mailtrap": ("custom_variables.campaign", "custom_variables.message", "message_id"),
    "mailgun": (
        "event-data.user-variables.campaign",
        "event-data.user-variables.message",
        "event-data.message.headers.message-id",
    ),
    "netcore": ("X-APIHEADER.campaign", "X-APIHEADER.message", None),
    "nylas": (None, "data.object.origin.mime_id", "data.object.message_id"),
    "ses": ("mail.tags.campaign[0]", "mail.tags.message[0]", "mail.messageId"),
    "brevo": ("X-Mailin-custom.campaign", "X-Mailin-custom.message", "message-id"),
    "mailersend": ("data.email.tags", None, "data.email.message.id"),
    "mailjet": ("customcampaign", "CustomID", "MessageID"),
    "sparkpost": ("campaign_id", "rcpt_meta.message", "transmission_id"),
    "mandrill": ("msg.metadata.campaign", "msg.metadata.message", "_id"),
    "scaleway": ("email_headers.X-Mailer-Campaign", "email_headers.X-Mailer-Message", "email_id"),
    "azure": (None, None, "data.messageId"),
    "postal": ("payload.message.tag", "payload.message.message_id", "payload.message.id"),
}


def at(event: Any, place: str) -> str:
    """As a path is read: a text that holds JSON is opened, a list of names and values is an object."""
    for key in re.split(r"\.|\[", place):
        if isinstance(event, str):
            event = json.loads(event)
        if isinstance(event, list) and not key.endswith("]"):
            event = flat(event)
        event = event[int(key[:-1])] if key.endswith("]") else event[key]
    (value,) = event if isinstance(event, list) else [event]
    return str(value)


def is_message(value: str, row: Kept) -> bool:
    whole = row.message.strip("<>")
    return value.strip("<>") in (whole, whole.partition("@")[0])


def is_reference(value: str, row: Kept) -> bool:
    return row.reference.strip("<>") in (value, value.strip("<>"), value.partition(".")[0])


async def yes(message: Outgoing) -> bool:
    return True


async def sent_and_kept(scheme: str) -> tuple[list[Any], list[Kept]]:
    """Three messages of two campaigns: the event of each, and its row."""
    role = ROLES[scheme]
    messages = [
        replace(letter(number, **role.plain), campaign=f"november-{number % 2}") for number in (1, 2, 3)
    ]
    with serving(role.play) as fake:
        backend = connect(urls.parse("main", role.address(fake.base)))
        size = backend.limits.batch
        outcomes = []
        for start in range(0, 3, size):
            outcomes += await backend.send(messages[start : start + size], yes)
        await backend.close()
    kept, events = [], []
    for number, (message, outcome) in enumerate(zip(messages, outcomes, strict=True)):
        assert isinstance(outcome, Accepted)
        assert outcome.reference
        kept.append(Kept(message.campaign, message.message_id, outcome.reference))
        request = fake.sends[number // size]
        events.append(EVENTS[scheme](request, number % size, outcome.reference))
    return events, kept


@pytest.mark.parametrize("scheme", ROLES)
async def test_an_event_leads_to_its_row(scheme):
    events, rows = await sent_and_kept(scheme)
    campaign, message, reference = PLACES[scheme]

    for event, row in zip(json.loads(json.dumps(events)), rows, strict=True):
        ways = []
        if campaign:
            assert at(event, campaign) == row.campaign
        if message:
            ways.append([one for one in rows if is_message(at(event, message), one)])
        if reference:
            found = [one for one in rows if is_reference(at(event, reference), one)]
            assert row in found
            if ROLES[scheme].ids:  # SendGrid has one for a request; what was sent along tells them apart
                ways.append(found)
        assert ways
        assert all(way == [row] for way in ways)


@pytest.mark.parametrize("scheme", ROLES)
def test_where_an_event_says_it_is_told(scheme):
    """The row of ``scheme`` names each place, or the object that holds it."""
    page = PAGE.read_text(encoding="utf-8").partition("## Campaign and message")[2]
    (told,) = re.findall(rf"^\| `{scheme}` \|[^|]*\|(.*)\|$", page.partition("\n## ")[0], re.MULTILINE)
    named = set(re.findall(r"`([^`]+)`", told))
    for place in filter(None, PLACES[scheme]):
        assert {place, place.rpartition(".")[0]} & named, place
    alone = "`mailersend` or `azure` leads to the message by it alone"
    assert (PLACES[scheme][1] is None) == (f"`{scheme}`" in alone)
    assert alone in page
