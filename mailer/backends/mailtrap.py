"""Mailtrap: ``mailtrap://TOKEN@?stream=transactional|bulk``, or ``?sandbox=true&inbox=ID``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from email.utils import formataddr
from typing import Any

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, described, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, each, verdict
from mailer.errors import ConfigError
from mailer.message import Outcome

_DOC = "docs.mailtrap.io, mailtrap-openapi specs/email-sending-transactional"
_SPEED = r"too many (emails|requests)|(rate|sending|hourly|emails?)\b.{0,20}\blimit"
_TO = r"'to\b[^']*'.{0,40}(invalid|not)|\brecipients?\b.{0,40}(invalid|not)|invalid.{0,20}recipient"
# fmt: off
#: An item of a batch has no code, only a text.
RULES = (
    Rule("400|403|422", "", r"not verified|unverified|unauthorized|not allowed to send|demo domain",
         our_fault, "The sender's domain is not verified, or the token may not send for it.", _DOC),
    Rule("400|403|422|429", "", r"(daily|monthly)\b.{0,20}\blimit", our_fault,
         "The account's quota is used up.", _DOC),
    Rule("400|403|422", "", _SPEED, slower, "Mailtrap asks us to send more slowly.", _DOC),
    Rule("400|422", "", r"('from\b[^']*'|\bfrom (e-?mail|address)).{0,40}(invalid|missing|not)", our_fault,
         "Mailtrap does not accept the sender's address.", _DOC),
    Rule("400|422", "", _TO, bad_address, "The address is not written correctly.", _DOC),
    Rule("400|413|422", "", "", refused, "Mailtrap refused this message.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Mailtrap",
    bases={
        "transactional": "https://send.api.mailtrap.io",
        "bulk": "https://bulk.api.mailtrap.io",
        "sandbox": "https://sandbox.api.mailtrap.io",
    },
    rules=RULES,
    features=Features(tags=1, tag_length=255, metadata=True, metadata_octets=1000),
    batch=500,
    request_octets=50_000_000,
    size=10_000_000,
    recipients=1000,
    requests=("15/s",),
)
TEMPLATED = replace(FACTS, features=replace(FACTS.features, tags=0))


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``stream``, ``tags`` (one), ``metadata``, ``template``, ``sandbox``, ``inbox``."""
    if options.flag(config, "sandbox"):
        config = replace(config, options={**config.options, "stream": "sandbox"})
    own = account(config, FACTS, ("tags", "metadata", "template", "sandbox", "inbox"), choice="stream")
    inbox = own.options.get("inbox", "")
    if (inbox and not inbox.isdigit()) or (own.region == "sandbox" and not inbox):
        raise ConfigError(f"backend {own.name!r}: the sandbox needs the number of its inbox: &inbox=123")
    if own.template and own.tags:
        raise ConfigError(f"backend {own.name!r}: Mailtrap cannot send tags with a template")
    return HttpBackend(own, Mailtrap(own, f"/{inbox}" if own.region == "sandbox" else ""))


class Mailtrap:
    """Implements ``mailer.backends.provider.Provider``."""

    def __init__(self, own: Account, place: str) -> None:
        self.facts = TEMPLATED if own.template else FACTS
        self._headers = {"Api-Token": own.key}
        self._metadata, self._tags = own.metadata, own.tags
        self._place = place
        self._questions = "" if "base" in own.options else "https://mailtrap.io"
        self._template = own.template

    def group(self, letter: Letter) -> Hashable:
        return None

    def request(self, letters: Sequence[Letter]) -> Request:
        messages = [self._message(letter) for letter in letters]
        # Their library and their schema ask for these two; what a message says itself goes before them.
        base = {name: messages[0][name] for name in ("from", "subject") if name in messages[0]}
        return as_json(f"/api/batch{self._place}", {"base": base, "requests": messages}, self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        body = answer.json()
        if not answer.ok or "responses" not in body:
            return None
        return each(zip(body["responses"], letters, strict=True), lambda pair: _item(*pair))

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        # A failure as a whole may come with 200.
        status = 400 if answer.ok and body.get("success") is False else answer.status
        return Said(status, "", described(body.get("errors") or body.get("error")) or answer.text)

    def check(self) -> tuple[Request, ...]:
        """An empty message: refused for what is missing when the token is good."""
        return (replace(as_json(f"/api/send{self._place}", {}, self._headers), fine=(400, 422)),)

    def checked(self, answer: Answer) -> str:
        return ""

    def domains(self, answers: Sequence[Answer]) -> Request | str:
        """Asked elsewhere; the account's number is told to whom has the key."""
        if not answers:
            return Request("/api/accounts", headers=self._headers, method="GET", base=self._questions)
        if len(answers) == 1:
            path = f"/api/accounts/{answers[0].json()[0]['id']}/sending_domains"
            return Request(path, headers=self._headers, method="GET", base=self._questions)
        return verified((one["domain_name"], one["dns_verified"]) for one in answers[1].json()["data"])

    def _message(self, letter: Letter) -> dict[str, Any]:
        mail = letter.fields
        headers = dict(mail.headers)
        if len(mail.reply_to) > 1:  # the field takes one, the header any number
            headers["Reply-To"] = ", ".join(formataddr((one.name, one.addr)) for one in mail.reply_to)
        message = {
            "from": mail.sender.pair(),
            "to": [one.pair() for one in mail.to],
            "cc": [one.pair() for one in mail.cc],
            "bcc": [one.pair() for one in mail.bcc],
            "reply_to": mail.reply_to[0].pair() if len(mail.reply_to) == 1 else None,
            **self._content(letter),
            "headers": headers,
            "attachments": [file.disposed() for file in mail.files],
            "category": next(iter(letter.tags(self._tags, self.facts.features.tags)), None),
            "custom_variables": letter.metadata(self._metadata),
        }
        return {name: value for name, value in message.items() if value}

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            return {"template_uuid": self._template, "template_variables": letter.variables}
        mail = letter.fields
        return {"subject": mail.subject, "text": mail.text, "html": mail.html}


def _item(item: dict[str, Any], letter: Letter) -> Outcome:
    if not item["success"]:
        return verdict(FACTS, 400, "", described(item.get("errors")))
    ids = item["message_ids"]  # one per recipient, the row's own is the first; one for all in the sandbox
    if len(ids) not in {1, len(letter.message.recipients)}:
        raise ValueError
    return accepted(200, ids[0])
