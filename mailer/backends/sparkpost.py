"""SparkPost: ``sparkpost://KEY@?region=eu``. Takes our MIME as it is, under an idempotency key."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import ambiguous, bad_address, later, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json, verdict
from mailer.message import Outcome

_DOC = "developers.sparkpost.com/api/transmissions, developers.sparkpost.com/api/index#header-errors"
# fmt: off
RULES = (
    Rule("200", "refused", "", bad_address, "SparkPost will not send to this address.", _DOC),
    Rule("200", "some", "", ambiguous,
         "SparkPost refused one of the recipients and does not say whom.", _DOC),
    Rule("4..", "7001|1603", "", our_fault, "The sender's domain is not set up at SparkPost.", _DOC),
    Rule("409", "1600", "", refused, "This message was sent before with other content.", _DOC),
    Rule("409", "", "", later, "An earlier try of this message is still under way.", _DOC),
    Rule("420", "", "", our_fault, "The account has reached its sending limit.", _DOC),
    Rule("400|422", "1300|1400|5002", "(in)?valid recipient", bad_address,
         "The address is not written correctly.", _DOC),
    Rule("400|413|415|422", "", "", refused, "SparkPost refused this message.", _DOC),
    Rule("429", "", "", slower, "SparkPost asks us to send more slowly.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="SparkPost",
    bases={"us": "https://api.sparkpost.com/api/v1", "eu": "https://api.eu.sparkpost.com/api/v1"},
    rules=RULES,
    features=Features(
        return_path=True, eight_bit=False, tags=10, tag_length=64, metadata=True, metadata_octets=10_000
    ),
    raw=True,
    size=20_000_000,
    key_seconds=86_400.0,
    horizon=3 * 86_400.0,
    calls=64,
)


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags`` (the first is the campaign, too), ``metadata``, ``track_opens``, ``track_clicks``,
    ``pool``, ``template``, ``send_at``, ``sandbox``."""
    more = ("tags", "metadata", "track_opens", "track_clicks", "pool", "template", "send_at", "sandbox")
    own = account(config, FACTS, more)
    return HttpBackend(own, SparkPost(own))


class SparkPost:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._headers = {"Authorization": own.key}
        self._metadata, self._tags = own.metadata, own.tags
        self._template = own.template
        # Our text is finished: {{ in it is meant.
        self._options: dict[str, Any] = {} if own.template else {"perform_substitutions": False}
        if own.send_at:
            self._options["start_time"] = own.send_at.isoformat()
        switches = {"open_tracking": own.flag("track_opens"), "click_tracking": own.flag("track_clicks")}
        self._options |= {name: on for name, on in switches.items() if on is not None}
        if "pool" in own.options:
            self._options["ip_pool"] = own.options["pool"]
        if own.flag("sandbox"):
            self._options["sandbox"] = True

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        letter = letters[0]
        message, key = letter.message, letter.message.idempotency_key
        tags = letter.tags(self._tags, FACTS.features.tags)
        tagged = {"tags": tags} if tags else {}
        body: dict[str, Any] = {
            "recipients": [{"address": {"email": one}, **tagged} for one in message.recipients],
            **self._content(letter),
            "options": self._options,
            "metadata": letter.metadata(self._metadata),
        }
        if campaign := (tags[0] if tags else message.campaign):  # what its reports are grouped by
            body["campaign_id"] = campaign.encode()[:64].decode(errors="ignore")
        if message.sender:
            body["return_path"] = message.sender
        headers = {**self._headers, "Idempotency-Key": key} if key else self._headers
        return as_json("/transmissions", body, headers, repeatable=bool(key))

    def _content(self, letter: Letter) -> dict[str, Any]:
        if self._template:
            return {"content": {"template_id": self._template}, "substitution_data": letter.variables}
        return {"content": {"email_rfc822": letter.message.data.decode("ascii")}}

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        results = answer.json()["results"]
        good, bad = results["total_accepted_recipients"], results["total_rejected_recipients"]
        if bad:
            code = "some" if good else "refused"
            return [verdict(FACTS, 200, code, f"{bad} recipients rejected, {good} accepted")]
        return [accepted(answer.status, results["id"])]

    def said(self, answer: Answer) -> Said:
        error = (answer.record().get("errors") or [{}])[0]
        texts = (str(error.get("message") or ""), str(error.get("description") or ""))
        return Said(answer.status, str(error.get("code", "")), ": ".join(filter(None, texts)) or answer.text)

    def check(self) -> tuple[Request, ...]:
        domains = Request("/sending-domains", headers=self._headers, method="GET")
        # A sending key may do nothing but send: an empty message is refused for what is missing.
        empty = as_json("/transmissions", {}, self._headers)
        return (domains, Request(empty.path, empty.content, empty.headers, fine=(400, 422)))

    def checked(self, answer: Answer) -> str:
        if not answer.ok:
            return UNASKED
        domains = answer.json()["results"]
        return verified((one["domain"], one["status"]["ownership_verified"]) for one in domains)
