"""Mailgun: ``mailgun://KEY@mg.acme.example?region=eu``. Takes our MIME as it is."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Hashable, Sequence
from email.utils import format_datetime

from mailer.backends.account import Account, account
from mailer.backends.answers import UNASKED, Answer, Rule, Said, accepted
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, our_fault, refused, slower
from mailer.backends.provider import Facts, Features, Letter, Request, as_form
from mailer.message import Outcome

_DOC = "documentation.mailgun.com/docs/mailgun/api-reference/mg-errors"
# fmt: off
RULES = (
    Rule("2..", "", "magnificent|<html", our_fault,
         "Mailgun has no API at this address: check region and domain.", _DOC),
    Rule("400", "", "\\bto'? parameter is not a valid address", bad_address,
         "The address is not written correctly.", _DOC),
    Rule("400|403", "", "\\bfrom'? parameter|activate|not allowed to send|authorized recipient|disabled",
         our_fault, "Mailgun does not let this account or domain send.", _DOC),
    Rule("400|413", "", "", refused, "Mailgun refused this message.", _DOC),
    Rule("404", "", "", our_fault, "Mailgun does not know this domain: check it, and the region.", _DOC),
    Rule("429", "", "", slower, "Mailgun asks us to send more slowly.", _DOC),
)
# fmt: on
FACTS = Facts(
    title="Mailgun",
    bases={"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"},
    rules=RULES,
    features=Features(
        tags=100, tag_length=128, tag_form=r"[\x20-\x7e]*", metadata=True, metadata_octets=16_000
    ),
    raw=True,
    size=25_000_000,
    recipients=1000,
    horizon=7 * 86_400.0,  # 3 days with some plans
    calls=64,
)
_AGAIN = re.compile(r"try again after (\d+) second", re.IGNORECASE)


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``tags``, ``metadata``, ``track_opens``, ``track_clicks``, ``pool``, ``send_at``,
    ``sandbox``."""
    more = ("tags", "metadata", "track_opens", "track_clicks", "pool", "send_at", "sandbox")
    own = account(config, FACTS, more, domain="domain")
    return HttpBackend(own, Mailgun(own))


class Mailgun:
    """Implements ``mailer.backends.provider.Provider``."""

    facts = FACTS

    def __init__(self, own: Account) -> None:
        login = b64encode(f"api:{own.key}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}
        self._domain = own.domain
        self._tags, self._metadata = own.tags, own.metadata
        self._fields: list[tuple[str, str]] = []
        switches = {
            "o:tracking-opens": own.flag("track_opens"),
            "o:tracking-clicks": own.flag("track_clicks"),
        }
        self._fields += [(name, "yes" if on else "no") for name, on in switches.items() if on is not None]
        if "pool" in own.options:
            self._fields.append(("o:sending-ip-pool", own.options["pool"]))
        if own.send_at:
            self._fields.append(("o:deliverytime", format_datetime(own.send_at, usegmt=True)))
        if own.flag("sandbox"):
            self._fields.append(("o:testmode", "yes"))

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        message = letters[0].message
        fields = [("to", recipient) for recipient in message.recipients]
        fields += [("o:tag", tag) for tag in letters[0].tags(self._tags)]
        fields += [(f"v:{name}", value) for name, value in letters[0].metadata(self._metadata).items()]
        return as_form(
            f"/v3/{self._domain}/messages.mime",
            [*fields, *self._fields],
            ("message", message.data),
            self._headers,
            boundary=f"form-{letters[0].identity.partition('@')[0]}",
        )

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        if not answer.ok:
            return None
        body = answer.json()
        return [accepted(answer.status, body["id"], body.get("message", "queued"))]

    def said(self, answer: Answer) -> Said:
        text = str(answer.record().get("message", answer.text))
        again = _AGAIN.search(text)
        return Said(answer.status, "", text, float(again[1]) if again else None)

    def check(self) -> tuple[Request, ...]:
        domain = Request(f"/v4/domains/{self._domain}", headers=self._headers, method="GET")
        # A sending key may do nothing but send: an empty message is refused for what is missing.
        return (domain, Request(f"/v3/{self._domain}/messages", headers=self._headers, fine=(400,)))

    def checked(self, answer: Answer) -> str:
        domain = answer.record().get("domain")
        return f"domain {domain['name']} {domain['state']}" if domain else UNASKED
