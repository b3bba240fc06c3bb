"""Amazon SES v2: ``ses://KEY-ID:SECRET@?region=eu-west-1``. Takes our MIME as it is."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, now, verified
from mailer.backends.contract import BackendConfig
from mailer.backends.expressible import from_its_sender
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_json
from mailer.backends.signatures import aws
from mailer.message import Outcome

_DOC = "docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html"
# fmt: off
RULES = (
    Rule("4..", ".*", "daily message quota", our_fault, "The account has sent its quota of this day.", _DOC),
    Rule("4..", "ThrottlingException|TooManyRequestsException|Throttling", "", slower,
         "SES asks us to send more slowly.", _DOC),
    Rule("4..", "MessageRejected", "not verified|authority to send", our_fault,
         "The sender is not verified, or the account is still in the sandbox.", _DOC),
    Rule("4..", "MessageRejected|BadRequestException", "", refused, "SES refused this message.", _DOC),
    Rule("4..", "LimitExceededException", "", our_fault, "The account has reached a limit.", _DOC),
    Rule("4..", "MailFromDomainNotVerified.*|AccountSuspended.*|SendingPaused.*", "", our_fault,
         "The account is suspended or paused, or its MAIL FROM domain is not verified.", _DOC),
    Rule("404", "", "", our_fault, "SES does not know the configuration set, or this address.", _DOC),
    Rule("403", "RequestTimeTooSkewed.*", "", our_fault, "The clock of this machine is wrong.", _DOC),
    Rule("403", "SignatureDoesNotMatch", "expired|not yet current", our_fault,
         "The clock of this machine is wrong.", _DOC),
    Rule("403", "", "", our_fault, "AWS refused our credentials, or they may not send.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Amazon SES",
    bases={"*": "https://email.{region}.amazonaws.com"},
    rules=RULES,
    features=Features(return_path=True, tags=50, metadata=True, labels=50, label=r"[A-Za-z0-9_-]{1,256}"),
    raw=True,
    size=30_000_000,  # 40 MB are allowed, after base64
    recipients=50,
    calls=64,
)
_PATH = "/v2/email/outbound-emails"


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``configuration_set``, ``tags``, ``metadata``, ``track_opens``, ``track_clicks``, ``sandbox``.

    Without region ``AWS_REGION`` counts; ``AWS_SESSION_TOKEN`` is used with keys that are temporary (ASIA…).
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region and "region" not in config.options:
        config = replace(config, options={**config.options, "region": region})
    more = ("configuration_set", "tags", "metadata", "track_opens", "track_clicks", "sandbox")
    own = account(config, FACTS, more, pair=True)
    token = os.environ.get("AWS_SESSION_TOKEN") if own.key.startswith("ASIA") else None
    return HttpBackend(own, Ses(own, token))


class Ses:
    """Implements ``mailer.backends.provider.Provider``. The envelope sender gets the bounces."""

    facts = FACTS

    def __init__(self, own: Account, token: str | None = None, clock: Callable[[], float] = now) -> None:
        self._own = own
        self._token = token
        self._clock = clock
        switches = {"OpenTracking": own.flag("track_opens"), "ClickTracking": own.flag("track_clicks")}
        words = {True: "ENABLED", False: "DISABLED"}
        self._tracking = {f"{name}Enabled": words[on] for name, on in switches.items() if on is not None}
        self._simulated = bool(own.flag("sandbox"))

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        message = letters[0].message
        people = ["success@simulator.amazonses.com"] if self._simulated else list(message.recipients)
        body: dict[str, Any] = {
            "Destination": {"ToAddresses": people[:1], "BccAddresses": people[1:]},
            "Content": {"Raw": {"Data": b64encode(message.data).decode()}},
        }
        # Without FromEmailAddress the From header stays as it is.
        if message.sender and not from_its_sender(message):
            body["FeedbackForwardingEmailAddress"] = message.sender
        if self._tracking:
            body["ConfigurationOverrides"] = {"Tracking": self._tracking}
        labels = letters[0].labels(self._own.tags, self._own.metadata)
        body["EmailTags"] = [{"Name": name, "Value": value} for name, value in labels.items()]
        if "configuration_set" in self._own.options:
            body["ConfigurationSetName"] = self._own.options["configuration_set"]
        return self._signed(as_json(_PATH, body, {}))

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        return [accepted(answer.status, answer.json()["MessageId"])] if answer.ok else None

    def said(self, answer: Answer) -> Said:
        body = answer.record()
        kind = answer.headers.get("x-amzn-errortype") or str(body.get("__type", ""))
        text = str(body.get("message") or body.get("Message") or answer.text)
        return Said(answer.status, kind.partition(":")[0].rpartition("#")[2], text)

    def check(self) -> tuple[Request, ...]:
        # Who may do nothing but send is refused for what is missing, and so is known.
        empty = replace(self._signed(as_json(_PATH, {}, {})), fine=(400,))
        return (self._signed(Request("/v2/email/account", method="GET")), empty)

    def checked(self, answer: Answer) -> str:
        told = answer.record()
        quota = told.get("SendQuota")
        if not quota:
            return "may send"
        stage = "production" if told.get("ProductionAccessEnabled") else "sandbox: verified recipients only"
        return f"{stage}, {quota['MaxSendRate']:g}/s, {quota['Max24HourSend']:g} a day"

    def domains(self, answers: Sequence[Answer]) -> Request | str:
        """May be allowed to a key by itself: ``ses:ListEmailIdentities``."""
        if not answers:
            return self._signed(as_json("/v2/email/list-identities", {"PageSize": 1000}, {}))
        found = answers[0].json()["EmailIdentities"]
        return verified((one["IdentityName"], one["VerificationStatus"] == "SUCCESS") for one in found)

    def _signed(self, request: Request) -> Request:
        kind = {name: value for name, value in request.headers.items() if name == "Content-Type"}
        own = self._own
        added = aws(
            request.method,
            own.host,
            request.path,
            kind,
            request.content,
            key=own.key,
            secret=own.secret,
            region=own.region,
            now=self._clock(),
            token=self._token,
        )
        return replace(request, headers={**kind, **added})
