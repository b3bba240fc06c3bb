"""Mailjet: ``mailjet://KEY:SECRET@``. Batches of 50 with a result for each."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, described
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, our_fault, refused
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, each, verdict
from mailer.backends.structured import File, Mailbox
from mailer.message import Outcome

_DOC = "dev.mailjet.com/email/guides/send-api-v31/#errors"
# fmt: off
RULES = (
    Rule("401", "", "", our_fault, "Mailjet does not know this key, or has suspended it.", _DOC),
    Rule("4..", "mj-00(01|15)", "", our_fault, "Mailjet does not know this key, or has suspended it.", _DOC),
    Rule("4..", "send-0008", "", our_fault, "The sender is not validated.", _DOC),
    Rule("4..", "mj-0013", r"\b(From|Sender)\b", our_fault, "Mailjet does not accept the sender.", _DOC),
    Rule("4..", "mj-0013", r"\b(Cc|Bcc|ReplyTo)\b", refused,
         "The address of a copy or of replies is not right.", _DOC),
    Rule("4..", "mj-0013", "", bad_address, "The address is not written correctly.", _DOC),
    Rule("40[03]|422", "(mj|send)-.*", "", refused, "Mailjet refused this message.", _DOC),
    Rule("400|413", "", "", refused, "Mailjet refused this message.", _DOC),
)
_FORBIDDEN = """
    from sender subject to cc bcc return-path delivered-to dkim-signature domainkey-status received-spf
    authentication-results received date message-id user-agent x-mailer list-id x-feedback-id
    x-csa-complaints x-mailjet-prio x-mailjet-debug x-mailjet-trackopen x-mailjet-trackclick
    x-mailjet-segmentation x-mailjet-campaign x-mj-customid x-mj-eventpayload x-mj-vars x-mj-templateid
    x-mj-templatelanguage x-mj-templateerrordeliver x-mj-templateerrorreporting x-mj-workflowid x-mj-mid
    x-mj-errormessage x-mj-statisticscontactslistid reply-to
"""
# fmt: on
FACTS = Facts(
    title="Mailjet",
    bases={"": "https://api.mailjet.com"},
    rules=RULES,
    features=Features(
        headers=frozenset(_FORBIDDEN.split()), reply_to=1, utf8_local=True, subject=255, tags=1, metadata=True
    ),
    batch=50,
    request_octets=15_000_000,
    size=15_000_000,
    recipients=50,
)
#: Its subject and texts lie there.
TEMPLATED = replace(FACTS, features=replace(FACTS.features, subject=None))


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags`` (one: the campaign), ``metadata``, ``track_opens``, ``track_clicks``, ``template``
    (its number), ``sandbox``."""
    more = ("tags", "metadata", "track_opens", "track_clicks", "template", "sandbox")
    options.whole(config, "template", None)
    own = account(config, FACTS, more, pair=True)
    return HttpBackend(own, Mailjet(own))


class Mailjet:
    """Implements ``mailer.backends.provider.Provider``."""

    def __init__(self, own: Account) -> None:
        self.facts = TEMPLATED if own.template else FACTS
        login = b64encode(f"{own.key}:{own.secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}
        self._template = own.template
        self._sandbox = bool(own.flag("sandbox"))
        self._tags, self._metadata = own.tags, own.metadata
        self._fixed: dict[str, str] = {}
        switches = {"TrackOpens": own.flag("track_opens"), "TrackClicks": own.flag("track_clicks")}
        words = {True: "enabled", False: "disabled"}
        self._fixed |= {name: words[on] for name, on in switches.items() if on is not None}

    def group(self, letter: Letter) -> Hashable:
        return None

    def request(self, letters: Sequence[Letter]) -> Request:
        body: dict[str, Any] = {"Messages": [self._message(letter) for letter in letters]}
        if self._sandbox:
            body["SandboxMode"] = True
        return as_json("/v3.1/send", body, self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        """A 4xx may hold messages that were sent, so the items decide, not the status."""
        body = answer.json()
        return each(body["Messages"], _item) if "Messages" in body else None

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        return Said(answer.status, str(body.get("ErrorCode", "")), str(body.get("ErrorMessage", answer.text)))

    def check(self) -> tuple[Request, ...]:
        return (Request("/v3/REST/sender?Limit=10", headers=self._headers, method="GET"),)

    def checked(self, answer: Answer) -> str:
        senders = answer.json()["Data"]
        return ", ".join(f"{one['Email']} {str(one['Status']).lower()}" for one in senders) or "no sender yet"

    def _message(self, letter: Letter) -> dict[str, Any]:
        mail = letter.fields
        message = {
            "From": _person(mail.sender),
            "To": [_person(one) for one in mail.to],
            "Cc": [_person(one) for one in mail.cc],
            "Bcc": [_person(one) for one in mail.bcc],
            "ReplyTo": _person(mail.reply_to[0]) if mail.reply_to else None,
            **self._content(letter),
            "Headers": mail.headers,
            "Attachments": [_file(file) for file in mail.attachments],
            "InlinedAttachments": [{**_file(file), "ContentID": file.content_id} for file in mail.images],
            "CustomID": letter.identity,
            "CustomCampaign": next(iter(letter.tags(self._tags)), letter.message.campaign),
            "EventPayload": json.dumps(letter.metadata(self._metadata), sort_keys=True),
        }
        return {name: value for name, value in message.items() if value} | self._fixed

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            number = int(self._template)
            return {"TemplateID": number, "TemplateLanguage": True, "Variables": letter.variables}
        mail = letter.fields
        return {"Subject": mail.subject, "TextPart": mail.text, "HTMLPart": mail.html}


def _person(one: Mailbox) -> dict[str, str]:
    return one.pair("Email", "Name")


def _file(file: File) -> dict[str, str]:
    return {"ContentType": file.kind, "Filename": file.name, "Base64Content": file.data}


def _item(item: dict[str, Any]) -> Outcome:
    if item["Status"] == "success":
        return accepted(200, item["To"][0]["MessageID"])
    error = item["Errors"][0]
    related = described(error.get("ErrorRelatedTo"))
    text = f"{error['ErrorMessage']} ({related})" if related else str(error["ErrorMessage"])
    return verdict(FACTS, int(error["StatusCode"]), error["ErrorCode"], text)
