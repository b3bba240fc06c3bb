"""Brevo: ``brevo://KEY@``. One message per request, which an idempotency key makes safe to repeat."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import ambiguous, bad_address, our_fault, refused
from mailer.backends.provider import Facts, Features, Letter, Request, as_json
from mailer.message import Outcome

_DOC = "developers.brevo.com/reference/sendtransacemail"
# fmt: off
RULES = (
    # How a repeated key is answered is not documented: whatever this is, the first may have been sent.
    Rule("4..", "", "idempot|duplicate", ambiguous, "Brevo has seen this message before.", _DOC),
    Rule("400", "", r"sender", our_fault, "Brevo does not accept the sender.", _DOC),
    Rule("400", "invalid_parameter", r"\be-?mail\b.{0,30}valid in to\b|recipient.{0,30}valid", bad_address,
         "The address is not written correctly.", _DOC),
    Rule("400|406", "", "", refused, "Brevo refused this message.", _DOC),
    Rule("401", "", "", our_fault, "Brevo does not know this key, or this machine's address.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Brevo",
    bases={"": "https://api.brevo.com/v3"},
    rules=RULES,
    features=Features(
        headers=frozenset({"x-mailin-custom", "x-sib-sandbox", "sender.ip", "idempotencykey"}),
        reply_to=1,
        inline=False,
        text_only=False,
        ascii_headers=True,
        tags=100,
    ),
    size=20_000_000,
    recipients=99,
    pool=r"[0-9a-fA-F.:]{3,45}",
    requests=("1000/s",),
    key_seconds=900.0,
    reset=("x-sib-ratelimit-reset", "either"),
    calls=64,
)
TEMPLATED = replace(FACTS, features=replace(FACTS.features, text_only=True))


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags``, ``metadata`` (which recipients can see), ``pool`` (an address of one's own),
    ``template`` (its number), ``send_at``, ``sandbox``."""
    options.whole(config, "template", None)
    own = account(config, FACTS, ("tags", "metadata", "pool", "template", "send_at", "sandbox"))
    return HttpBackend(own, Brevo(own))


class Brevo:
    """Implements ``mailer.backends.provider.Provider``."""

    def __init__(self, own: Account) -> None:
        self.facts = TEMPLATED if own.template else FACTS
        self._template = own.template
        self._headers = {"api-key": own.key}
        self._special = {"X-Sib-Sandbox": "drop"} if own.flag("sandbox") else {}
        if "pool" in own.options:
            self._special["sender.ip"] = own.options["pool"]
        self._tags, self._metadata = own.tags, own.metadata
        self._fixed: dict[str, Any] = {}
        if own.send_at:
            self._fixed["scheduledAt"] = own.send_at.isoformat(timespec="milliseconds")

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        mail, key = letters[0].fields, letters[0].message.idempotency_key
        # Recipients can see it, so what an application says of its message is not in it.
        known = {**letters[0].ids(), **self._metadata}
        special = {**self._special, "X-Mailin-custom": json.dumps(known, sort_keys=True)}
        if key:  # in the body, and a UUID: docs call it a header
            special["idempotencyKey"] = str(uuid5(NAMESPACE_URL, key))
        message: dict[str, Any] = {
            "sender": mail.sender.pair(),
            "to": [one.pair() for one in mail.to],
            "cc": [one.pair() for one in mail.cc],
            "bcc": [one.pair() for one in mail.bcc],
            "replyTo": mail.reply_to[0].pair() if mail.reply_to else None,
            **self._content(letters[0]),
            "headers": {**mail.headers, **special},
            "attachment": [{"name": file.name, "content": file.data} for file in mail.attachments],
            "tags": letters[0].tags(self._tags),
        }
        filled = {name: value for name, value in message.items() if value} | self._fixed
        return as_json("/smtp/email", filled, self._headers, repeatable=bool(key))

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            return {"templateId": int(self._template), "params": letter.variables}
        mail = letter.fields
        return {"subject": mail.subject, "htmlContent": mail.html, "textContent": mail.text}

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        return [accepted(answer.status, answer.json()["messageId"])] if answer.ok else None

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        return Said(answer.status, str(body.get("code", "")), str(body.get("message", answer.text)))

    def check(self) -> tuple[Request, ...]:
        paths = ("/senders/domains", "/account")
        return tuple(Request(path, headers=self._headers, method="GET") for path in paths)

    def checked(self, answer: Answer) -> str:
        domains = answer.record().get("domains")
        if domains is None:
            return UNASKED
        return verified((one["domain_name"], one["authenticated"]) for one in domains)
