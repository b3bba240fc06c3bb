"""Nylas: ``nylas://KEY@GRANT?region=eu`` sends from a mailbox that was granted, as the MIME it is."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, described
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.marks import campaign, marked, octets
from mailer.backends.meanings import after, later, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_form
from mailer.message import Outcome

_DOC = "developer.nylas.com/docs/api/errors"
# fmt: off
RULES = (
    Rule("409", "api.invalid_idempotent_request", "", refused,
         "This message was sent before with other content.", _DOC),
    Rule("409", "", "", later, "An earlier try of this message is still under way.", _DOC),
    Rule("400", "", "", refused, "Nylas refused this message.", _DOC),
    Rule("404", "", "", our_fault, "Nylas does not know this grant, or it has expired.", _DOC),
    Rule("429", "", "", slower, "Nylas or the mailbox's provider asks us to send more slowly.", _DOC),
    Rule("50[013]|7..", "", r"(recipient|address).{0,40}(invalid|not found|not exist|rejected)",
         refused, "The mailbox's provider refused the recipient or the message.", _DOC),
    # 502 and 504 are left to the general table: the mailbox's provider did not answer, so nobody knows.
    Rule("50[013]|7..", "", "", after(3600),
         "Nylas has a fault of its own, and gives the same answer again for an hour.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Nylas",
    bases={"us": "https://api.us.nylas.com", "eu": "https://api.eu.nylas.com"},
    rules=RULES,
    features=Features(bcc=False),
    raw=True,
    size=25_000_000,
    requests=("10/s",),
    key_seconds=3600.0,
)
_ADDRESSED = re.compile(rb"^(?:To|Cc): .*\r\n(?:[ \t].*\r\n)*", re.MULTILINE)


def connect(config: BackendConfig) -> HttpBackend:
    """No options of its own."""
    own = account(config, FACTS, domain="grant")
    return HttpBackend(own, Nylas(own))


class Nylas:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._headers = {"Authorization": f"Bearer {own.key}"}
        self._grant = f"/v3/grants/{own.domain}"

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        key = letters[0].message.idempotency_key
        return as_form(
            f"{self._grant}/messages/send?type=mime",
            [],
            ("mime", addressed(letters[0])),
            {**self._headers, **({"Idempotency-Key": key} if key else {})},
            boundary=f"form-{letters[0].identity.partition('@')[0]}",
            repeatable=bool(key),
        )

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        return [accepted(answer.status, answer.json()["data"]["id"])] if answer.ok else None

    def said(self, answer: Answer) -> Said:
        error = answer.record().get("error") or {}
        text = "; ".join(
            filter(None, (described(error.get("message")), described(error.get("provider_error"))))
        )
        # An error that is kept under the key: the same until Nylas forgets it.
        kept = answer.headers.get("idempotent-response", "").lower() == "true"
        wait = FACTS.key_seconds if kept else None
        return Said(answer.status, str(error.get("type", "")), text or answer.text, wait)

    def check(self) -> tuple[Request, ...]:
        return (Request(self._grant, headers=self._headers, method="GET"),)

    def checked(self, answer: Answer) -> str:
        grant = answer.json()["data"]
        # Service accounts alone may ask for domains; a grant sends as the mailbox that it is.
        return f"{grant['provider']} mailbox {grant['grant_status']}; it has no domain to verify"


def addressed(letter: Letter) -> bytes:
    """The message, whose headers are all that says who gets it: they must say what the envelope says."""
    mail, data = letter.fields, octets(marked(letter.message, campaign(letter)))
    head, blank, body = data.partition(b"\r\n\r\n")
    named = b"".join(_ADDRESSED.findall(head + b"\r\n")).lower()
    shown = [*mail.to, *mail.cc]
    if named.count(b"@") == len(shown) and all(one.addr.lower().encode() in named for one in shown):
        return data
    others = _ADDRESSED.sub(b"", head + b"\r\n")
    lines = [f"To: <{mail.to[0].addr}>", *(f"Cc: <{one.addr}>" for one in mail.cc)]
    return "\r\n".join(lines).encode() + b"\r\n" + others.removesuffix(b"\r\n") + blank + body
