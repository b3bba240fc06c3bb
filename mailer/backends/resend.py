"""Resend: ``resend://KEY@``. Batches of 100, or with ``?batch=1`` single messages that are safe to repeat."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.letter import plain
from mailer.backends.meanings import ambiguous, bad_address, later, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, each, joint_key, verdict
from mailer.message import Outcome

_DOC = "resend.com/docs/api-reference/errors"
# fmt: off
RULES = (
    Rule("403|429", "email_above_quota|(daily|monthly)_quota_exceeded", "", our_fault,
         "The account's quota is used up.", _DOC),
    Rule("403", "validation_error", "", our_fault,
         "The sender's domain is not verified, or the key may only mail its owner.", _DOC),
    # A result in a batch has a text alone.
    Rule("4..", "validation_error", "invalid `?from`?|not verified|own email address", our_fault,
         "Resend does not accept the sender.", _DOC),
    Rule("409", "invalid_idempotent_request", "", refused, "It was sent before with other content.", _DOC),
    Rule("409", "concurrent_idempotent_requests|resource_locked", "", later,
         "An earlier try of this message is still under way.", _DOC),
    Rule("4..", "validation_error", "invalid `?to`?", bad_address, "The address is not right.", _DOC),
    Rule("422", "invalid_(from_address|access|region)", "", our_fault, "It is not for this account.", _DOC),
    Rule("429", "", "", slower, "Resend asks us to send more slowly.", _DOC),
)
FACTS = Facts(
    title="Resend",
    bases={"": "https://api.resend.com"},
    rules=RULES,
    features=Features(tags=50, tag_length=256),
    batch=100, request_octets=40_000_000, size=40_000_000, recipients=50,
    requests=("10/s",), reset=("ratelimit-reset", "seconds"),
    key_seconds=86_400.0,
    horizon=30 * 86_400.0,
)
# fmt: on


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags`` (``name=value``, several with commas), ``template``, ``send_at``, ``sandbox``."""
    own = account(config, FACTS, ("tags", "template", "send_at", "sandbox"))
    return HttpBackend(own, Resend(own))


class Resend:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._headers = {"Authorization": f"Bearer {own.key}"}
        self._fixed = {"scheduled_at": own.send_at.isoformat()} if own.send_at else {}
        self._tags, self._template, self._single = own.tags, own.template, own.batch == 1
        self._sandbox = bool(own.flag("sandbox"))

    def group(self, letter: Letter) -> Hashable:
        """The batch endpoint takes no attachments."""
        return letter if self._single or letter.fields.files else None

    def request(self, letters: Sequence[Letter]) -> Request:
        key, bodies = joint_key(letters), [self._message(letter) for letter in letters]
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        if len(letters) == 1:
            return as_json("/emails", bodies[0], headers, repeatable=bool(key))
        headers["x-batch-validation"] = "permissive"
        return as_json("/emails/batch", bodies, headers, repeatable=bool(key))

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if answer.status == 409 and len(letters) > 1:  # another batch would go under another key
            return [ambiguous(self.said(answer).reply("Resend has seen this batch before."))] * len(letters)
        if not answer.ok:
            return None
        body = answer.json()
        if len(letters) == 1:
            return [accepted(answer.status, body["id"])]
        wrong = {error["index"]: error["message"] for error in body.get("errors") or ()}
        return _in_order(body["data"], wrong, len(letters))

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        return Said(answer.status, str(body.get("name", "")), str(body.get("message", answer.text)))

    def check(self) -> tuple[Request, ...]:
        domains = Request("/domains", headers=self._headers, method="GET")
        # A sending key may do nothing but send: an empty message is refused for what is missing.
        return (domains, replace(as_json("/emails", {}, self._headers), fine=(422,)))

    def checked(self, answer: Answer) -> str:
        if not answer.ok:
            return f"may send, and nothing else: {UNASKED}"
        domains = answer.json()["data"]
        return ", ".join(f"{domain['name']} {domain['status']}" for domain in domains) or "no domain yet"

    def _message(self, letter: Letter) -> dict[str, Any]:
        mail = letter.fields
        everybody: tuple[Sequence[object], ...] = (mail.to, mail.cc, mail.bcc)
        if self._sandbox:
            everybody = (["delivered@resend.dev"], [], [])
        message = {
            "from": str(mail.sender),
            **{field: list(map(str, who)) for field, who in zip(("to", "cc", "bcc"), everybody, strict=True)},
            "reply_to": list(map(str, mail.reply_to)),
            **self._content(letter),
            "headers": mail.headers,
            "tags": _labels(letter, self._tags),
            **self._fixed,
            "attachments": [
                {"content": file.data, "filename": file.name, "content_type": file.kind}
                | ({"content_id": file.content_id} if file.content_id else {})
                for file in mail.files
            ],
        }
        return {name: value for name, value in message.items() if value or name == "text"}

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            return {"template": {"id": self._template, "variables": letter.variables}}
        mail = letter.fields  # without "text" Resend would make one of the HTML
        return {"subject": mail.subject, "html": mail.html, "text": mail.text or ""}


def _labels(letter: Letter, tags: Sequence[str]) -> list[dict[str, str]]:
    """Resend's tags are pairs, of letters, digits, ``_`` and ``-``; it refuses a mail with any other."""
    own = [[plain(part) for part in tag.partition("=")] for tag in letter.tags(tags)]
    pairs = letter.around({name: value or "yes" for name, _, value in own})
    return [{"name": name, "value": value} for name, value in pairs.items()]


def _in_order(data: list[dict[str, Any]], wrong: dict[int, str], count: int) -> list[Outcome]:
    """``data`` may keep holes for what was refused, or close them; both are told apart by its length."""
    good = range(count) if len(data) == count else [index for index in range(count) if index not in wrong]
    found = dict(zip(good, data, strict=True))

    def one(index: int) -> Outcome:
        if index in wrong:
            return verdict(FACTS, 422, "validation_error", wrong[index])
        return accepted(200, found[index]["id"])

    return each(range(count), one)
