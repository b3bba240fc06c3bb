"""MailerSend: ``mailersend://KEY@``. One message per request: its bulk endpoint has no results to read."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted, described, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.marks import with_campaign
from mailer.backends.meanings import bad_address, later, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, verdict
from mailer.backends.structured import File, Mailbox
from mailer.message import Outcome

_DOC = "developers.mailersend.com/general.html#validation-errors"
# fmt: off
RULES = (
    Rule("202", "suppressed", "", bad_address, "The address is on MailerSend's suppression list.", _DOC),
    Rule("4..", "MS42207", "", our_fault, "The sender's domain is not verified.", _DOC),
    Rule("4..", "MS422(04|22|25)|MS42901", "", our_fault, "The account's quota is used up.", _DOC),
    Rule("4..", "MS42208", r"\bfrom\b", our_fault, "MailerSend does not accept the sender.", _DOC),
    Rule("4..", "MS42208", r"\bto\.\d|\brecipient\b", bad_address,
         "The address is not written correctly.", _DOC),
    Rule("4..", "MS403.*", "", our_fault, "The account is suspended, or this machine may not use it.", _DOC),
    Rule("400|413|422", "", "", refused, "MailerSend refused this message.", _DOC),
    Rule("421", "", "", later, "MailerSend is under maintenance.", _DOC),
    Rule("429", "", "", slower, "MailerSend asks us to send more slowly.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="MailerSend",
    bases={"": "https://api.mailersend.com/v1"},
    rules=RULES,
    features=Features(headers=None, reply_to=1, copies=10, subject=998, tags=5),
    size=25_000_000,
    recipients=50,
    requests=("120/min",),
    horizon=72 * 3600.0,
    reset=("x-ratelimit-reset", "unix"),
)
#: Custom headers need a plan that has them, and nobody can ask which plan it is.
WITH_HEADERS = replace(FACTS, features=replace(FACTS.features, headers=frozenset()))
_CODE = re.compile(r"#(MS\d+)")


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``headers`` (yes: the plan has them), ``tags``, ``track_opens``, ``track_clicks``,
    ``template``, ``send_at``."""
    own = account(config, FACTS, ("headers", "tags", "track_opens", "track_clicks", "template", "send_at"))
    return HttpBackend(own, MailerSend(own, WITH_HEADERS if options.flag(config, "headers") else FACTS))


class MailerSend:
    """Implements ``mailer.backends.provider.Provider``."""

    def __init__(self, own: Account, facts: Facts) -> None:
        self.facts = facts
        self._headers = {"Authorization": f"Bearer {own.key}"}
        switches = {"track_opens": own.flag("track_opens"), "track_clicks": own.flag("track_clicks")}
        settings = {name: on for name, on in switches.items() if on is not None}
        self._fixed: dict[str, Any] = {"settings": settings} if settings else {}
        self._tags = own.tags
        if own.send_at:
            self._fixed["send_at"] = int(own.send_at.timestamp())
        self._template = own.template

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        mail = letters[0].fields
        message = {
            "from": _person(mail.sender),
            "to": [_person(one) for one in mail.to],
            "cc": [_person(one) for one in mail.cc],
            "bcc": [_person(one) for one in mail.bcc],
            "reply_to": _person(mail.reply_to[0]) if mail.reply_to else None,
            **self._content(letters[0]),
            "headers": [{"name": name, "value": value} for name, value in mail.headers.items()],
            "attachments": [_attachment(file) for file in mail.files],
            "tags": with_campaign(letters[0], self._tags, FACTS.features.tags),
        }
        filled = {name: value for name, value in message.items() if value} | self._fixed
        return as_json("/email", filled, self._headers)

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            data = {"email": letter.message.recipients[0], "data": letter.variables}
            return {"template_id": self._template, "personalization": [data]}
        mail = letter.fields
        return {"subject": mail.subject, "text": mail.text, "html": mail.html}

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        recipient = letters[0].message.recipients[0].lower()
        for warning in answer.record().get("warnings") or ():
            kept = {str(one["email"]).lower() for one in warning["recipients"]}
            if warning["type"] == "ALL_SUPPRESSED" or recipient in kept:
                return [verdict(FACTS, 202, "suppressed", described(warning["type"]))]
        return [accepted(answer.status, answer.headers["x-message-id"])]

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        text = "; ".join(filter(None, (described(body.get("message")), described(body.get("errors")))))
        code = _CODE.search(text)
        return Said(answer.status, code[1] if code else "", text or answer.text)

    def check(self) -> tuple[Request, ...]:
        domains = Request("/domains", headers=self._headers, method="GET")
        # A sending key may do nothing but send: an empty message is refused for what is missing.
        return (domains, replace(as_json("/email", {}, self._headers), fine=(422,)))

    def checked(self, answer: Answer) -> str:
        if not answer.ok:
            return UNASKED
        return verified((one["name"], one["is_verified"]) for one in answer.json()["data"])


def _person(one: Mailbox) -> dict[str, str]:
    """Names with ; or , are refused, so they are written without."""
    return Mailbox(one.addr, " ".join(re.sub("[;,]", " ", one.name).split())).pair()


def _attachment(file: File) -> dict[str, str]:
    part = {"filename": file.name, "content": file.data}
    if file.content_id:
        return {**part, "disposition": "inline", "id": file.content_id}
    return {**part, "disposition": "attachment"}
