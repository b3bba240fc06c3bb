"""Postmark: ``postmark://SERVER-TOKEN@?stream=outbound``. Batches of 500 with a result for each."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, later, our_fault, refused
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, each, verdict
from mailer.backends.structured import File
from mailer.message import Outcome

_DOC = "postmarkapp.com/developer/api/overview#error-codes"
# fmt: off
#: ErrorCode has a number space of its own: 401 and 429 there are not HTTP's.
RULES = (
    Rule("...", "10", "", our_fault, "Postmark does not know this server token.", _DOC),
    Rule("...", "100", "", later, "Postmark is under maintenance.", _DOC),
    Rule("...", "300", "'(cc|bcc|replyto)'", refused,
         "The address of a copy or of replies is not right.", _DOC),
    Rule("...", "300", "'from'|sender", our_fault, "Postmark does not accept the sender's address.", _DOC),
    Rule("...", "300", "'to'", bad_address, "The address is not written correctly.", _DOC),
    Rule("...", "40[01]", "", our_fault, "The sender signature is missing or not confirmed.", _DOC),
    Rule("...", "405", "", our_fault, "The account has used up its credits, or may not send.", _DOC),
    Rule("...", "406", "", bad_address, "The address is on Postmark's suppression list.", _DOC),
    Rule("...", "411", "", refused, "Postmark does not take attachments of this type.", _DOC),
    Rule("...", "41[23]", "", our_fault, "The account waits for approval, or may not send.", _DOC),
    Rule("...", "1101", "", our_fault, "Postmark does not know this template.", _DOC),
    Rule("...", "12(26|35|36)", "", our_fault, "There is no such message stream, or it cannot send.", _DOC),
    Rule("422", "[1-9]\\d*", "", refused, "Postmark refused this message.", _DOC),
)
FACTS = Facts(
    title="Postmark",
    bases={"": "https://api.postmarkapp.com"},
    rules=RULES,
    features=Features(text_octets=5_000_000, tags=1, tag_length=1000,
                      metadata=True, metadata_pairs=10, name_length=20, value_length=80),
    batch=500, request_octets=50_000_000, size=10_000_000, recipients=50,
)
# fmt: on
_INACTIVE = re.compile(r"inactive addresses?: ([^\s].*?)\.(?: |$)", re.IGNORECASE)


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``stream``, ``tags`` (one), ``metadata``, ``track_opens``, ``track_clicks``, ``template``
    (id or alias), ``sandbox``, ``account_token_file`` (for ``mailer doctor``)."""
    more = "stream tags metadata track_opens track_clicks template sandbox account_token_file"
    own = account(config, FACTS, tuple(more.split()))
    return HttpBackend(own, Postmark(own))


class Postmark:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        # With the token of the tests messages are checked, and sent to nobody.
        token = "POSTMARK_API_TEST" if own.flag("sandbox") else own.key
        self._headers = {"X-Postmark-Server-Token": token}
        self._own = {"X-Postmark-Server-Token": own.key, "Accept": "application/json"}
        self._metadata, self._tags = own.metadata, own.tags
        self._asking = options.secret(own.name, own.options, "account_token_file")
        template = own.template or ""
        self._template: dict[str, Any] = {"TemplateAlias": template} if template else {}
        if template.isdigit():
            self._template = {"TemplateId": int(template)}
        self._fixed: dict[str, Any] = {"MessageStream": own.options.get("stream", "outbound")}
        if (opens := own.flag("track_opens")) is not None:
            self._fixed["TrackOpens"] = opens
        if (clicks := own.flag("track_clicks")) is not None:
            self._fixed["TrackLinks"] = "HtmlAndText" if clicks else "None"

    def group(self, letter: Letter) -> Hashable:
        return None

    def request(self, letters: Sequence[Letter]) -> Request:
        messages = [self._message(letter) for letter in letters]
        if self._template:
            return as_json("/email/batchWithTemplates", {"Messages": messages}, self._headers)
        return as_json("/email/batch", messages, self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        return each(zip(answer.json(), letters, strict=True), lambda pair: self._item(*pair))

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        return Said(answer.status, str(body.get("ErrorCode", "")), str(body.get("Message", answer.text)))

    def check(self) -> tuple[Request, ...]:
        return (Request("/server", headers=self._own, method="GET"),)

    def checked(self, answer: Answer) -> str:
        return f"server {answer.json()['Name']!r}"

    def domains(self, answers: Sequence[Answer]) -> Request | str:
        """A server token may not ask; the account's may, and does nothing else here."""
        if not self._asking:
            return f"{UNASKED}, but with the account's: account_token_file"
        if not answers:
            asking = {"X-Postmark-Account-Token": self._asking, "Accept": "application/json"}
            return Request("/domains?count=500&offset=0", headers=asking, method="GET")
        return verified((one["Name"], one["DKIMVerified"]) for one in answers[0].json()["Domains"])

    def _message(self, letter: Letter) -> dict[str, Any]:
        mail = letter.fields
        message = {"From": str(mail.sender), **self._content(letter)}
        people = (("To", mail.to), ("Cc", mail.cc), ("Bcc", mail.bcc), ("ReplyTo", mail.reply_to))
        message |= {field: ", ".join(map(str, who)) for field, who in people if who}
        if mail.headers:
            message["Headers"] = [{"Name": name, "Value": value} for name, value in mail.headers.items()]
        if files := mail.files:
            message["Attachments"] = [_attachment(file) for file in files]
        if tags := letter.tags(self._tags):
            message["Tag"] = tags[0]
        return {**message, **self._fixed, "Metadata": letter.metadata(self._metadata, longest=80)}

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            return {**self._template, "TemplateModel": letter.variables}
        mail = letter.fields
        content = {"Subject": mail.subject, "TextBody": mail.text, "HtmlBody": mail.html}
        return {name: text for name, text in content.items() if text}

    def _item(self, item: dict[str, Any], letter: Letter) -> Outcome:
        if item.get("ErrorCode") == 11 and item.get("Errors"):  # several at once: the first decides
            item = item["Errors"][0]
        code, text = item.get("ErrorCode", 0), str(item.get("Message", ""))
        if code:
            return verdict(FACTS, 422, code, text)
        # Taken, yet not for these; without ErrorCode it says that delivery may be delayed.
        inactive = _INACTIVE.search(text)
        if inactive and letter.message.recipients[0].lower() in inactive[1].lower().split(", "):
            return verdict(FACTS, 422, 406, text)
        return accepted(200, item["MessageID"], text)


def _attachment(file: File) -> dict[str, str]:
    part = {"Name": file.name, "Content": file.data, "ContentType": file.kind}
    return {**part, "ContentID": f"cid:{file.content_id}"} if file.content_id else part
