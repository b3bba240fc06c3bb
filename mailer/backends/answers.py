"""What a provider's answer means: a table of data, first match wins, and the wait that it asks for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import orjson

from mailer.backends.meanings import Then, Verdict, ambiguous, later, our_fault, refused, slower
from mailer.message import Accepted, Deferred, Phase, Reply

#: Nobody waits longer than a day because a header says so.
LONGEST_WAIT = 86_400.0
_MAX_TEXT = 500
#: What an answer quotes of the request: somebody's address may well hold the word "sender".
_QUOTED = re.compile(r"""[^\s"'`<>()\[\],;:]+@[^\s"'`<>()\[\],;:]+""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """``status`` and ``code`` are whole patterns, ``text`` is searched for; "" fits anything."""

    status: str
    code: str
    text: str
    then: Then
    reason: str
    source: str

    def fits(self, status: int, code: str, text: str) -> bool:
        return (
            re.fullmatch(self.status, str(status)) is not None
            and (not self.code or re.fullmatch(self.code, code, re.IGNORECASE) is not None)
            and (not self.text or re.search(self.text, text, re.IGNORECASE | re.DOTALL) is not None)
        )


_RFC = "RFC 9110 section 15"
_CDN = "developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors"
# fmt: off
#: What holds where a provider's own table says nothing. The last rule fits anything.
GENERAL: tuple[Rule, ...] = (
    Rule("2..", "", "", ambiguous, "The provider's answer cannot be understood; it may have sent it.", _RFC),
    Rule("3..", "", "", our_fault, "The provider's API is somewhere else: check the base address.", _RFC),
    Rule("401|407", "", "", our_fault, "The provider refused our key.", _RFC),
    Rule("402", "", "", our_fault, "The account has no credit left, or its plan is used up.", _RFC),
    Rule("403", "", "", our_fault, "The account, key or domain may not do this.", _RFC),
    Rule("404|405", "", "", our_fault, "There is no such API here: check domain, region and base.", _RFC),
    Rule("408|425", "", "", later, "The provider did not get the whole request.", _RFC),
    Rule("413", "", "", refused, "The message is larger than the provider takes.", _RFC),
    Rule("421|429", "", "", slower, "The provider asks us to send more slowly.", "RFC 6585"),
    Rule("4..", "", "", refused, "The provider refused this message.", _RFC),
    Rule("502|504", "", "", ambiguous, "A gateway lost the provider's answer; it may have sent it.", _RFC),
    Rule("52[024]|59[89]", "", "", ambiguous,
         "A gateway did not get the provider's answer; it may have sent it.", _CDN),
    Rule("5..", "", "", later, "The provider has a fault of its own.", _RFC),
    Rule("", "", "", ambiguous, "The answer makes no sense.", _RFC),
)
# fmt: on
_ANY_STATUS = replace(GENERAL[-1], status=".*")


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says of one message, or of a whole request. ``wait`` is in seconds."""

    status: int
    code: str = ""
    text: str = ""
    wait: float | None = None

    def verdict(self, rules: Sequence[Rule]) -> Verdict:
        """The first rule that fits; the provider's own come before the general ones.

        Addresses in the text decide nothing.
        """
        every = (*rules, *GENERAL[:-1], _ANY_STATUS)
        text = _QUOTED.sub("@", self.text) if "@" in self.text else self.text
        rule = next(rule for rule in every if rule.fits(self.status, self.code, text))
        outcome = rule.then(self.reply(rule.reason))
        if isinstance(outcome, Deferred) and self.wait is not None:
            return replace(outcome, retry_after=max(self.wait, outcome.retry_after or 0.0))
        return outcome

    def reply(self, reason: str = "") -> Reply:
        text = self.text if not self.code or self.code in self.text else f"{self.code}: {self.text}"
        return Reply(one_line(text), code=self.status, phase=Phase.REQUEST, reason=reason)


def accepted(status: int, reference: object, text: str = "taken") -> Accepted:
    """Taken by the provider, under an id of its own."""
    return Accepted(_taken(status, text), reference=None if reference in (None, "") else str(reference))


@lru_cache(maxsize=256)
def _taken(status: int, text: str) -> Reply:
    """A provider says the same of all that it takes."""
    return Reply(one_line(text), code=status, phase=Phase.REQUEST)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, read. Header names are in lower case; keys are taken out of ``text``."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body. Raises ValueError for anything that is not JSON, such as a proxy's HTML."""
        return orjson.loads(self.text)

    def record(self) -> Mapping[str, Any]:
        """The body as an object; empty when it is none."""
        try:
            body = self.json()
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def wait(self, reset: tuple[str, str] | None, now: float) -> float | None:
        """Seconds until another try may help, by ``Retry-After`` or the provider's own header."""
        if (seconds := _retry_after(self.headers.get("retry-after"), now)) is not None:
            return seconds
        if self.status != 429 or reset is None:
            return None
        header, unit = reset
        return _until(self.headers.get(header), unit, now)


def one_line(text: str) -> str:
    plain = text if text.isprintable() else _CONTROL.sub(" ", text)  # isprintable() costs next to nothing
    return plain.strip()[:_MAX_TEXT]


#: What is said where a key does not tell which domains it may send from.
UNASKED = "its domains cannot be asked with this key"
_SHOWN = 20


def verified(domains: Iterable[tuple[str, object]]) -> str:
    """What a provider says of the sender's domains, for people."""
    told = [f"{name} {'verified' if good else 'not verified'}" for name, good in domains]
    more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    return ", ".join(told[:_SHOWN] + more) or "no domain yet"


def described(value: Any) -> str:
    """Whatever a provider puts where a text should be, as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(map(described, value))
    if isinstance(value, dict):
        return "; ".join(f"{key}: {described(one)}" for key, one in value.items())
    return "" if value is None else str(value)


def _retry_after(text: str | None, now: float) -> float | None:
    """Seconds, or a date (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if (seconds := _number(text)) is not None:
        return _clamped(seconds)
    try:
        return _clamped(parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(text: str | None, unit: str, now: float) -> float | None:
    """``unit``: "seconds" from now, "unix" time, or "either", told apart by size."""
    number = _number(text or "")
    if number is None:
        return None
    if unit == "unix" or (unit == "either" and number > 1e9):
        number -= now
    return _clamped(number)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text.strip()) else None


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT)


def now() -> float:
    return time.time()
