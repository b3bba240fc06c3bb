"""Postal, on a server of one's own: ``postal://KEY@postal.acme.example``. Takes our MIME as it is."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Hashable, Sequence

from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.marks import marked, octets, postal
from mailer.backends.meanings import ambiguous, later, our_fault, refused
from mailer.backends.provider import Facts, Features, Letter, Request, as_json
from mailer.message import Outcome

_DOC = "postalserver/postal app/controllers/legacy_api, 8ef8960"
# fmt: off
#: Every answer of Postal's own has status 200; another one is a proxy's.
RULES = (
    Rule("200", "InvalidServerAPIKey|AccessDenied", "", our_fault, "Postal does not know this key.", _DOC),
    Rule("200", "ServerSuspended", "", our_fault, "The server is suspended in Postal.", _DOC),
    Rule("200", "UnauthenticatedFromAddress", "", our_fault,
         "The sender's domain does not belong to this server.", _DOC),
    Rule("200", "[A-Za-z]+|parameter-error", "", refused, "Postal refused this message.", _DOC),
    Rule("4(?!0[1347]|13|21|29)..", "", "", later,
         "A proxy in front of Postal refused the request.", _DOC),
    Rule("200", "", "", ambiguous, "The answer cannot be understood; it may have sent it.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Postal",
    bases={"": "https://{host}"},
    rules=RULES,
    features=Features(return_path=True, utf8_local=False, tags=1),
    raw=True,
)


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags`` (one)."""
    own = account(config, FACTS, ("tags",), domain="host")
    return HttpBackend(own, Postal(own))


class Postal:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._headers = {"X-Server-API-Key": own.key}
        self._tags = own.tags

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        message = letters[0].message
        body = {
            "mail_from": message.sender,
            "rcpt_to": list(message.recipients),
            "data": b64encode(octets(marked(message, postal(letters[0], self._tags)))).decode(),
        }
        return as_json("/api/v1/send/raw", body, self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        body = answer.json()
        if not answer.ok or body["status"] != "success":
            return None
        ids = {addr.lower(): one["id"] for addr, one in body["data"]["messages"].items()}
        return [accepted(answer.status, ids[letters[0].message.recipients[0].lower()])]

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        data = body.get("data") or {}
        code = str(data.get("code") or body.get("status") or "")
        return Said(answer.status, "" if code == "success" else code, str(data.get("message") or answer.text))

    def check(self) -> tuple[Request, ...]:
        """A message that does not exist: not found is what a good key is told."""
        return (as_json("/api/v1/messages/message", {"id": 0}, self._headers),)

    def checked(self, answer: Answer) -> str | None:
        by_name = "its domains are asked by name: `mailer doctor --domain NAME`"
        return by_name if self.said(answer).code in {"", "MessageNotFound"} else None

    def ask(self, domain: str) -> Request:
        """A message to nobody: its sender is looked at before its recipients, of which there are none."""
        data = b64encode(f"From: postmaster@{domain}\r\n\r\n".encode()).decode()
        body = {"mail_from": f"postmaster@{domain}", "rcpt_to": [], "data": data}
        return as_json("/api/v1/send/raw", body, self._headers)

    def told(self, answer: Answer) -> bool | None:
        """Success names the messages that were made, which are none; anything else is no answer to this."""
        if self.said(answer).code == "UnauthenticatedFromAddress":
            return False
        body = answer.json()
        good = answer.ok and body["status"] == "success" and not body["data"]["messages"]
        return True if good else None
