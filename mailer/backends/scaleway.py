"""Scaleway Transactional Email: ``scaleway://SECRET-KEY@PROJECT-ID?region=fr-par``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from email.utils import formataddr

from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, described
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.marks import plain
from mailer.backends.meanings import bad_address, our_fault, refused
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, verdict
from mailer.message import Outcome

_DOC = "scaleway.com/en/developers/api/transactional-email; the form of errors is Scaleway's general one"
_FROM = r"\b(argument_name: |^)(mail_)?from\b|sender|domain|quota"
_TO = r"(argument_name: |^)(mail_)?(rcpt|to)\b|\brecipient\b.{0,40}(invalid|not)|invalid.{0,20}recipient"
# fmt: off
RULES = (
    Rule("4..", "quotas?_exceeded", "", our_fault, "The account's quota is used up.", _DOC),
    Rule("400|403", "", _FROM, our_fault,
         "Scaleway does not let this project send for the sender's domain, or its quota is used up.", _DOC),
    Rule("400", "", _TO, bad_address, "The address is not written correctly.", _DOC),
    Rule("200", "failed|canceled", "", refused, "Scaleway could not send this message.", _DOC),
    Rule("400|409|413|422", "", "", refused, "Scaleway refused this message.", _DOC),
)
_HOST = "https://api.scaleway.com/transactional-email/v1alpha1/regions"
_KINDS = "application/pdf text/html text/plain text/calendar text/csv image/jpeg image/png image/gif"
# fmt: on
FACTS = Facts(
    title="Scaleway",
    bases={"fr-par": f"{_HOST}/fr-par", "nl-ams": f"{_HOST}/nl-ams"},
    rules=RULES,
    features=Features(inline=False, shortest=10, kinds=frozenset(_KINDS.split())),
    size=2_000_000,
    requests=("50/h",),
)


def connect(config: BackendConfig) -> HttpBackend:
    """No options of its own."""
    own = account(config, FACTS, domain="project id")
    return HttpBackend(own, Scaleway(own))


class Scaleway:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._headers = {"X-Auth-Token": own.key}
        self._project = own.domain

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        mail = letters[0].fields
        # Its webhooks tell the headers, and nothing else of ours.
        told = {**dict(plain(letters[0])), **mail.headers}
        headers = [{"key": name, "value": value} for name, value in told.items()]
        if mail.reply_to:  # there is no field for it
            people = ", ".join(formataddr((one.name, one.addr)) for one in mail.reply_to)
            headers.append({"key": "Reply-To", "value": people})
        message = {
            "project_id": self._project,
            "from": mail.sender.pair(),
            "to": [one.pair() for one in mail.to],
            "cc": [one.pair() for one in mail.cc],
            "bcc": [one.pair() for one in mail.bcc],
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "attachments": [
                {"name": file.name, "type": file.kind, "content": file.data} for file in mail.attachments
            ],
            "additional_headers": headers,
        }
        filled = {name: value for name, value in message.items() if value}
        return as_json("/emails", filled, self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        """One entry per recipient; the row's own decides."""
        if not answer.ok:
            return None
        recipient = letters[0].message.recipients[0].lower()
        (own,) = [one for one in answer.json()["emails"] if one["mail_rcpt"].lower() == recipient]
        if own["status"] in {"failed", "canceled"}:
            return [verdict(FACTS, 200, own["status"], str(own.get("status_details") or own["status"]))]
        return [accepted(answer.status, own["id"], own["status"])]

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        parts = (described(body.get("message")), described(body.get("details")))
        return Said(answer.status, str(body.get("type", "")), "; ".join(filter(None, parts)) or answer.text)

    def check(self) -> tuple[Request, ...]:
        path = f"/domains?project_id={self._project}"
        return (Request(path, headers=self._headers, method="GET"),)

    def checked(self, answer: Answer) -> str:
        domains = answer.json()["domains"]
        return ", ".join(f"{one['name']} {one['status']}" for one in domains) or "no domain yet"
