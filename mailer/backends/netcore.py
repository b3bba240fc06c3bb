"""Netcore Email API, once Pepipost: ``netcore://KEY@?region=eu&version=v6``."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from mailer.backends import options
from mailer.backends.account import Account, account
from mailer.backends.answers import Answer, Rule, Said, accepted, described
from mailer.backends.contract import BackendConfig
from mailer.backends.http import HttpBackend
from mailer.backends.meanings import bad_address, our_fault, refused
from mailer.backends.probing import statuses
from mailer.backends.provider import Facts, Features, Letter, Record, Request, as_json
from mailer.message import Outcome

_DOC = "emaildocs.netcorecloud.net status codes; bodies as callers of the API report them"
_FROM = r"field: (from|sender)\b|\bfrom (e-?mail|address)|sender|domain.{0,40}(approv|verif|regist|allow)"
_TO = r"field: (\S+\.)?(to|recipients?)\b|\brecipient\b.{0,40}(invalid|not)|invalid.{0,20}recipient"
# fmt: off
RULES = (
    Rule("400|422", "", _FROM, our_fault, "Netcore does not accept the sender.", _DOC),
    Rule("400|422", "", _TO, bad_address, "The address is not written correctly.", _DOC),
    Rule("400|422", "", "", refused, "Netcore refused this message.", _DOC),
)
#: emaildocs.netcorecloud.com, "Sending domain verification": each account is told its own in the console.
_SPF = Record("SPF", "TXT", "{domain}", r"include:\S*(netcorecloud|pepipost)\.", "the include of its console")
# fmt: on
#: v5.1: HTML only, and one Reply-To address as text.
FACTS = Facts(
    title="Netcore",
    bases={
        "global": "https://emailapi.netcorecloud.net",
        "eu": "https://apieu.netcorecloud.net",
        "pepipost": "https://api.pepipost.com",
    },
    rules=RULES,
    features=Features(reply_to=1, inline=False, text_only=False, both_bodies=False, tags=100, metadata=True),
    calls=64,
    records=(_SPF,),
)
V6 = replace(FACTS, features=Features(inline=False, tags=100, metadata=True))
AUTHS = ("api_key", "bearer", "x-api-key")


def connect(config: BackendConfig) -> HttpBackend:
    """Options: ``version``, ``auth``, ``text``, ``tags``, ``metadata``, ``track_opens``, ``track_clicks``,
    ``pool``, ``template`` (its number), ``send_at``."""
    more = ("version", "auth", "text", "tags", "metadata", "track_opens", "track_clicks", "pool")
    options.whole(config, "template", None)
    own = account(config, FACTS, (*more, "template", "send_at"))
    version = options.choice(config, "version", ("v5.1", "v5", "v6"), "v5.1")
    auth = options.choice(config, "auth", AUTHS, "bearer" if version == "v6" else "api_key")
    drop = options.choice(config, "text", ("refuse", "drop"), "refuse") == "drop"
    return HttpBackend(own, Netcore(own, version, auth, drop_text=drop))


class Netcore:
    """Implements ``mailer.backends.provider.Provider``. One message per request, so each has its own id."""

    def __init__(self, own: Account, version: str, auth: str, *, drop_text: bool) -> None:
        can = (V6 if version == "v6" else FACTS).features
        if own.template or drop_text:
            can = replace(can, both_bodies=True, text_only=can.text_only or bool(own.template))
        self.facts = replace(FACTS, features=can)
        self._v6 = version == "v6"
        self._text = self._v6 and not drop_text
        scheme = {"api_key": "", "bearer": "Bearer ", "x-api-key": "x-api-key "}[auth]
        self._headers = {"Authorization" if scheme else "api_key": f"{scheme}{own.key}"}
        self._path = f"/{version}/mail/send"
        self._domains = Request("/v5/domain/getDomains", headers={"api_key": own.key}, method="GET")
        self._template, self._metadata, self._tags = own.template, own.metadata, own.tags
        switches = {"open_track": own.flag("track_opens"), "click_track": own.flag("track_clicks")}
        wishes = {**switches, "ip_pool": own.options.get("pool")}
        settings = {name: wish for name, wish in wishes.items() if wish is not None}
        self._fixed: dict[str, Any] = {"settings": settings} if settings else {}
        if own.send_at:
            self._fixed["schedule"] = int(own.send_at.timestamp())

    def group(self, letter: Letter) -> Hashable:
        return letter

    def request(self, letters: Sequence[Letter]) -> Request:
        return as_json(self._path, self._message(letters[0]), self._headers)

    def read(self, answer: Answer, letters: Sequence[Letter]) -> list[Outcome] | None:
        """Errors come with any status, as lists too: only ``data.message_id`` says that it was taken."""
        body = answer.json()
        if not answer.ok or _complains(body):
            return None
        return [accepted(answer.status, body["data"]["message_id"], str(body.get("message", "taken")))]

    def said(self, answer: Answer) -> Said:
        body = answer.json()
        return Said(400 if answer.ok and _complains(body) else answer.status, "", described(body))

    def check(self) -> tuple[Request, ...]:
        """An empty message: refused for what is missing when the key is good."""
        return (replace(as_json(self._path, {}, self._headers), fine=(400, 422)),)

    def checked(self, answer: Answer) -> str:
        return ""

    def domains(self, answers: Sequence[Answer]) -> Request | str:
        """Its libraries have the call, and nothing has the form of its answer."""
        if not answers:
            return self._domains
        return statuses(answers[0].json())

    def _message(self, letter: Letter) -> dict[str, Any]:
        mail = letter.fields
        person = {
            "to": [one.pair() for one in mail.to],
            "cc": [{"email": one.addr} for one in mail.cc],
            "bcc": [{"email": one.addr} for one in mail.bcc],
            "headers": mail.headers,
            "attributes": letter.variables if self._template else None,
            # A text, although it holds JSON; it comes back in webhooks as X-APIHEADER.
            "token_to": json.dumps(letter.metadata(self._metadata), sort_keys=True),
        }
        reply_to: Any = [one.pair() for one in mail.reply_to]
        whole = {
            "from": mail.sender.pair(),
            "reply_to": reply_to if self._v6 else "".join(one.addr for one in mail.reply_to),
            "subject": mail.subject,
            "template_id": int(self._template) if self._template else None,
            "content": None if self._template else self._content(mail.text, mail.html),
            "personalizations": [{name: value for name, value in person.items() if value}],
            "attachments": [{"name": file.name, "content": file.data} for file in mail.attachments],
            "tags": letter.tags(self._tags),
        }
        return {name: value for name, value in whole.items() if value} | self._fixed

    def _content(self, text: str | None, html: str | None) -> list[dict[str, str]]:
        if not self._v6:
            return [{"type": "html", "value": html or ""}]
        kinds = {"text/plain": text if self._text else None, "text/html": html}
        return [{"type": kind, "value": value} for kind, value in kinds.items() if value]


def _complains(body: Any) -> bool:
    """In each of the ways that were seen; an id says more than any of them."""
    if isinstance(body, list):
        return bool(body)
    if described(body.get("data")):
        return False
    return bool(body.get("error")) or "error" in described([body.get("status"), body.get("message")]).lower()
