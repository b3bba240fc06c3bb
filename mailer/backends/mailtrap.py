"""Mailtrap: ``mailtrap://TOKEN@?stream=transactional|bulk``, or ``?sandbox=true&inbox=ID``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from email.utils import formataddr
from typing import Any

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, described
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, verdict
from mailer.backends.structured import File
from mailer.errors import ConfigError
from mailer.message import Outcome

_DOC = "docs.mailtrap.io, mailtrap-openapi specs/email-sending-transactional"
# fmt: off
#: An item of a batch has no code, only a text.
RULES = (
    Rule("400|403|422", "", r"not verified|unverified|unauthorized|not allowed to send|demo domain",
         our_fault, "The sender's domain is not verified, or the token may not send for it.", _DOC),
    Rule("400|403|422", "", r"too many emails|limit", slower, "Mailtrap asks us to send more slowly.", _DOC),
    Rule("400|422", "", r"'?from'?\b.{0,40}(invalid|missing|not)", our_fault,
         "Mailtrap does not accept the sender's address.", _DOC),
    Rule("400|422", "", r"'?(to|recipient)s?'?\b.{0,40}(invalid|not)|invalid.{0,20}recipient", bad_address,
         "The address is not written correctly.", _DOC),
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
    features=Features(),
    batch=500,
    request_octets=50_000_000,
    size=10_000_000,
    recipients=1000,
    requests="15/s",
)


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``stream``, ``tags`` (one), ``metadata``, ``template``, ``sandbox``, ``inbox``."""
    if options.flag(config, "sandbox"):
        config = replace(config, options={**config.options, "stream": "sandbox"})
    own = account(config, FACTS, ("tags", "metadata", "template", "sandbox", "inbox"), choice="stream")
    inbox = own.options.get("inbox", "")
    if (inbox and not inbox.isdigit()) or (own.region == "sandbox" and not inbox):
        raise ConfigError(f"backend {own.name!r}: the sandbox needs the number of its inbox: &inbox=123")
    if own.template and own.tags:
        raise ConfigError(f"backend {own.name!r}: Mailtrap takes no tags with a template")
    return HttpBackend(own, Mailtrap(own, f"/{inbox}" if own.region == "sandbox" else ""))


class Mailtrap:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account, place: str) -> None:
        self._headers = {"Api-Token": own.key}
        self._metadata, self._tags = own.metadata, own.tags
        self._place = place
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
        return [_item(item) for item in body["responses"]]

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
            "attachments": [_attachment(file) for file in mail.files],
            "category": next(iter(letter.tags(self._tags)), None),
            "custom_variables": {**letter.metadata(self._metadata), "message_id": letter.identity},
        }
        return {name: value for name, value in message.items() if value}

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            return {"template_uuid": self._template, "template_variables": letter.variables}
        mail = letter.fields
        return {"subject": mail.subject, "text": mail.text, "html": mail.html}


def _item(item: dict[str, Any]) -> Outcome:
    if not item["success"]:
        return verdict(FACTS, 400, "", described(item.get("errors")))
    return accepted(200, item["message_ids"][0])  # one per recipient, the row's own is the first


def _attachment(file: File) -> dict[str, str]:
    part = {"content": file.data, "filename": file.name, "type": file.kind}
    if file.content_id:
        return {**part, "disposition": "inline", "content_id": file.content_id}
    return {**part, "disposition": "attachment"}
