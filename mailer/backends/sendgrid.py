"""SendGrid: ``sendgrid://KEY@``, EU subusers ``?region=eu``. Equal messages travel together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted, described, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, our_fault, refused
from mailer.backends.provider import Facts, Features, Letter, Request, as_json
from mailer.message import Outcome

_DOC = "twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors"
# fmt: off
RULES = (
    Rule("401", "", "(credits|limits?) exceeded", our_fault, "The account's quota is used up.", _DOC),
    Rule("403", "", "", our_fault, "The sender is not verified, or the key may not send.", _DOC),
    Rule("400", r"from(\..*)?", "", our_fault, "SendGrid does not accept the sender's address.", _DOC),
    Rule("400", r"personalizations\.\d+\.to.*", "valid|address", bad_address,
         "The address is not written correctly.", _DOC),
    Rule("400|413", "", "", refused, "SendGrid refused this message.", _DOC),
)
# fmt: on
_OURS = "x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject"
FACTS = Facts(
    title="SendGrid",
    bases={"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"},
    rules=RULES,
    features=Features(
        headers=frozenset([*_OURS.split(), "reply-to", "cc", "bcc"]),
        tags=10,
        tag_length=255,
        metadata=True,
        metadata_octets=10_000,
    ),
    batch=1000,
    request_octets=30_000_000,
    size=30_000_000,
    recipients=1000,
    reset=("x-ratelimit-reset", "unix"),
    horizon=72 * 3600.0,
    pool=".{2,64}",
    calls=64,
)


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags``, ``metadata``, ``track_opens``, ``track_clicks``, ``pool``, ``template``,
    ``send_at``, ``sandbox``."""
    more = ("tags", "metadata", "track_opens", "track_clicks", "pool", "template", "send_at", "sandbox")
    own = account(config, FACTS, more)
    return HttpBackend(own, SendGrid(own))


class SendGrid:
    """Implements ``mailer.backends.provider.Provider``.

    One request holds one content for up to 1000 recipients, so only messages that differ in nothing but
    To, Subject, headers and metadata go together; the id that comes back is then the same for all of them.
    """

    facts = FACTS

    def __init__(self, own: Account) -> None:
        self._headers = {"Authorization": f"Bearer {own.key}"}
        self._metadata, self._tags = own.metadata, own.tags
        self._fixed: dict[str, Any] = {}
        if "pool" in own.options:
            self._fixed["ip_pool_name"] = own.options["pool"]
        if own.send_at:
            self._fixed["send_at"] = int(own.send_at.timestamp())
        self._template = own.template
        self._sandbox = bool(own.flag("sandbox"))
        if self._sandbox:
            self._fixed["mail_settings"] = {"sandbox_mode": {"enable": True}}
        tracking = {"open_tracking": own.flag("track_opens"), "click_tracking": own.flag("track_clicks")}
        switched = {name: {"enable": on} for name, on in tracking.items() if on is not None}
        if switched:
            self._fixed["tracking_settings"] = switched

    def group(self, letter: Letter) -> Hashable:
        """An address may occur once in a request, so a message with copies goes alone."""
        mail = letter.fields
        if len(letter.everybody) > 1:
            return letter
        content = () if self._template else (mail.text, mail.html)
        people = (str(mail.sender), *map(str, mail.reply_to))
        return (people, content, tuple(mail.files), letter.message.tags)

    def request(self, letters: Sequence[Letter]) -> Request:
        mail = letters[0].fields
        content = [{"type": "text/plain", "value": mail.text}, {"type": "text/html", "value": mail.html}]
        body: dict[str, Any] = {
            "from": mail.sender.pair(),
            "personalizations": [self._personalization(letter) for letter in letters],
            **self._fixed,
        }
        if self._template:
            body["template_id"] = self._template
        else:
            body["content"] = [part for part in content if part["value"]]
        if tags := letters[0].tags(self._tags, FACTS.features.tags):
            body["categories"] = tags
        if mail.reply_to:
            body["reply_to_list"] = [one.pair() for one in mail.reply_to]
        if mail.files:
            body["attachments"] = [file.disposed() for file in mail.files]
        return as_json("/v3/mail/send", body, self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        # In test mode there is no id; else its absence says that somebody else answered.
        reference = None if self._sandbox else answer.headers["x-message-id"]
        return [accepted(answer.status, reference) for _ in letters]

    def said(self, answer: Answer) -> Said:
        errors = answer.record().get("errors") or [{}]
        code = errors[0].get("field") or ""
        text = "; ".join(described(error.get("message")) for error in errors)
        return Said(answer.status, code, text or answer.text)

    def check(self) -> tuple[Request, ...]:
        # A sending key may not see the domains.
        paths = ("/v3/whitelabel/domains", "/v3/scopes")
        return tuple(Request(path, headers=self._headers, method="GET") for path in paths)

    def checked(self, answer: Answer) -> str:
        told = answer.json()
        if isinstance(told, list):
            return verified((one["domain"], one["valid"]) for one in told)
        may = "may send" if "mail.send" in told["scopes"] else "but it may not send (mail.send)"
        return f"{may}; {UNASKED}"

    def _personalization(self, letter: Letter) -> dict[str, Any]:
        mail = letter.fields
        whole = {
            "to": [one.pair() for one in mail.to],
            "cc": [one.pair() for one in mail.cc],
            "bcc": [one.pair() for one in mail.bcc],
            "subject": None if self._template else mail.subject,
            "dynamic_template_data": letter.variables if self._template else None,
            "headers": mail.headers,
            # Its events have these beside their own fields.
            "custom_args": letter.metadata(self._metadata, "mailer_"),
        }
        return {name: value for name, value in whole.items() if value}
