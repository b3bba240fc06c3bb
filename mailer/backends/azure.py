"""Azure Communication Services Email: ``azure://ACCESS-KEY@RESOURCE.communication.azure.com``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, now
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.marks import plain
from mailer.backends.meanings import bad_address, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Record, Request, as_json
from mailer.backends.signatures import azure
from mailer.backends.structured import File
from mailer.errors import ConfigError
from mailer.message import Outcome

_DOC = "learn.microsoft.com/rest/api/communication/email/send, azure-rest-api-specs 2025-09-01"
# fmt: off
RULES = (
    Rule("40[034]", "", r"sender|\bfrom (address|domain)|domain.{0,20}linked", our_fault,
         "The sender's domain is not linked to this resource, or the sender is unknown.", _DOC),
    Rule("400", "EmailDroppedAllRecipientsSuppressed", "", bad_address,
         "The address is on Azure's suppression list.", _DOC),
    Rule("400", "", r"\brecipients?\b.{0,40}(invalid|not)|invalid.{0,30}(recipient|e-?mail ?address)",
         bad_address, "The address is not written correctly.", _DOC),
    Rule("400|409|413|422", "", "", refused, "Azure refused this message.", _DOC),
    Rule("429", "", "", slower, "Azure asks us to send more slowly.", _DOC),
)
#: learn.microsoft.com, Communication Services, "add custom verified domains"; SPF must end in -all there.
_DKIM = "selector{}-azurecomm-prod-net._domainkey"
RECORDS = (
    Record("SPF", "TXT", "{domain}", r"include:spf\.protection\.outlook\.com\b.*-all",
           "v=spf1 include:spf.protection.outlook.com -all"),
    *(
        Record("DKIM", "CNAME", f"{name}.{{domain}}", rf"{name}\.azurecomm\.net", f"{name}.azurecomm.net")
        for name in (_DKIM.format(1), _DKIM.format(2))
    ),
)
# fmt: on
FACTS = Facts(
    title="Azure",
    bases={"": "https://{host}"},
    rules=RULES,
    features=Features(sender_name=False),
    size=7_500_000,  # 10 MB for a request, after base64
    recipients=50,
    requests=("30/min", "100/h"),
    records=RECORDS,
)
#: What became of it, told with 202 at once.
_ENDED = frozenset({"Failed", "Canceled"})
_VERSION = "api-version=2025-09-01"
_NOBODY = "00000000-0000-0000-0000-000000000000"


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``track_opens`` (no: switches opens and clicks off)."""
    own = account(config, FACTS, ("track_opens",), domain="resource host")
    try:
        return HttpBackend(own, Azure(own))
    except ValueError:
        raise ConfigError(f"backend {own.name!r}: the access key is not base64") from None


class Azure:
    """Implements ``mailer.backends.provider.Provider``. The sender's name is set in the portal."""

    facts = FACTS

    def __init__(self, own: Account, clock: Callable[[], float] = now) -> None:
        self._own = own
        self._clock = clock
        self._fixed = {"userEngagementTrackingDisabled": True} if own.flag("track_opens") is False else {}
        azure("GET", own.host, "/", b"", key=own.key, now=0.0)

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        mail = letters[0].fields
        people = {"to": mail.to, "cc": mail.cc, "bcc": mail.bcc}
        content = {"subject": mail.subject, "plainText": mail.text, "html": mail.html}
        message = {
            "senderAddress": mail.sender.addr,
            "recipients": {
                name: [one.pair("address", "displayName") for one in group]
                for name, group in people.items()
                if group
            },
            "content": {name: value for name, value in content.items() if value},
            "headers": {**dict(plain(letters[0])), **mail.headers},
            "replyTo": [one.pair("address", "displayName") for one in mail.reply_to],
            "attachments": [_attachment(file) for file in mail.files],
        }
        filled = {name: value for name, value in message.items() if value} | self._fixed
        return self._signed(as_json(f"/emails:send?{_VERSION}", filled, {}))

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        body = answer.json()
        if body.get("status") in _ENDED:
            return None
        return [accepted(answer.status, body["id"], str(body.get("status", "taken")))]

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        error = body.get("error") or {}
        code = answer.headers.get("x-ms-error-code") or str(error.get("code", ""))
        status = 400 if answer.ok and body.get("status") in _ENDED else answer.status
        return Said(status, code, str(error.get("message", answer.text)))

    def check(self) -> tuple[Request, ...]:
        """An operation that does not exist: not found is what a good key is told."""
        request = Request(f"/emails/operations/{_NOBODY}?{_VERSION}", method="GET", fine=(404,))
        return (self._signed(request),)

    def checked(self, answer: Answer) -> str:
        return "no key is told its domains: see the portal, and `mailer doctor --domain NAME` for their DNS"

    def _signed(self, request: Request) -> Request:
        own = self._own
        proof = azure(request.method, own.host, request.path, request.content, key=own.key, now=self._clock())
        return replace(request, headers={**request.headers, **proof})


def _attachment(file: File) -> dict[str, str]:
    part = {"name": file.name, "contentType": file.kind, "contentInBase64": file.data}
    return {**part, "contentId": file.content_id} if file.content_id else part
