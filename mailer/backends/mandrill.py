"""Mandrill, Mailchimp Transactional: ``mandrill://KEY@``. Takes our MIME as it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.marks import mandrill, marked, octets
from mailer.backends.meanings import bad_address, later, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, verdict
from mailer.message import Outcome

_DOC = "mailchimp.com/developer/transactional/api/messages, transactional.openapi.json"
# fmt: off
#: Errors of the API by their name, since most of them have come with status 500; then results by reason.
RULES = (
    Rule("...", "Invalid_Key", "", our_fault, "Mandrill does not know this key.", _DOC),
    Rule("...", "PaymentRequired", "", our_fault, "The account must be paid for first.", _DOC),
    Rule("...", "Unknown_.*", "", our_fault, "Mandrill does not know this subaccount, or this pool.", _DOC),
    Rule("...", "ValidationError", "", refused, "Mandrill refused this message.", _DOC),
    Rule("...", "RequestLimitExceeded", "", slower, "Mandrill asks us to send more slowly.", _DOC),
    Rule("...", "GeneralError|ServiceUnavailable", "", later, "Mandrill has a fault of its own.", _DOC),
    Rule("200", "hard-bounce|invalid|spam|unsub|custom", "", bad_address,
         "The address is bad, or on Mandrill's rejection list.", _DOC),
    Rule("200", "invalid-sender|unsigned|test-mode-limit", "", our_fault,
         "Mandrill does not accept the sender, or the key is for tests.", _DOC),
    Rule("200", "[a-z-]+", "", refused, "Mandrill rejected this message.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Mandrill",
    bases={"": "https://mandrillapp.com/api/1.0"},
    rules=RULES,
    features=Features(eight_bit=False, tags=100, tag_length=50, tag_form="[^_,][^,]*", metadata=True),
    raw=True,
    horizon=365 * 86_400.0,
    size=25_000_000,
    calls=64,
)
_TAKEN = frozenset({"sent", "queued", "scheduled"})


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags``, ``metadata``, ``pool``, ``send_at``."""
    own = account(config, FACTS, ("tags", "metadata", "pool", "send_at"))
    return HttpBackend(own, Mandrill(own))


class Mandrill:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._key = {"key": own.key}
        self._tags, self._metadata = own.tags, own.metadata
        self._fixed = {"ip_pool": own.options["pool"]} if "pool" in own.options else {}
        if own.send_at:
            self._fixed["send_at"] = f"{own.send_at:%Y-%m-%d %H:%M:%S}"

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        message = letters[0].message
        # Handled "exactly as if it were sent through Mandrill's SMTP servers", so their headers count.
        content = marked(message, mandrill(letters[0], self._tags, self._metadata))
        body = {
            **self._key,
            "raw_message": octets(content).decode("ascii"),
            "to": list(message.recipients),
            "async": False,
            **self._fixed,
        }
        return as_json("/messages/send-raw.json", body, {})

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        recipient = letters[0].message.recipients[0].lower()
        own = [item for item in answer.json() if str(item["email"]).lower() == recipient]
        return [_result(own[0])]

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        return Said(answer.status, str(body.get("name", "")), str(body.get("message", answer.text)))

    def check(self) -> tuple[Request, ...]:
        return tuple(as_json(path, self._key, {}) for path in ("/senders/domains.json", "/users/ping2.json"))

    def checked(self, answer: Answer) -> str | None:
        told = answer.json()
        if isinstance(told, list):
            return verified((one["domain"], one["valid_signing"]) for one in told)
        return UNASKED if told.get("PING") else None


def _result(item: dict[str, Any]) -> Outcome:
    status = str(item["status"])
    if status in _TAKEN:
        return accepted(200, item["_id"], str(item.get("queued_reason") or status))
    reason = "invalid" if status == "invalid" else str(item.get("reject_reason") or status)
    return verdict(FACTS, 200, reason, f"{status}: {reason}")
