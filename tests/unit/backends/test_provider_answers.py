"""What an answer means where a provider's own table says nothing, and how long it asks to wait."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from mailer.backends.answers import LONGEST_WAIT, Answer, Rule, Said
from mailer.backends.meanings import after, bad_address, our_fault, refused
from mailer.message import Blocked, Deferred, Rejected, Unknown

NOW = 1_800_000_000.0
#: RFC 9110 and, for 52x, Cloudflare's documentation.
MEANINGS: dict[type, tuple[int, ...]] = {
    Unknown: (200, 202, 299, 502, 504, 520, 522, 524, 598, 599, 600, 199),
    Blocked: (301, 302, 308, 401, 402, 403, 404, 405, 407),
    Deferred: (408, 421, 425, 429, 500, 501, 503, 507, 521, 523, 525, 530),
    Rejected: (400, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451),
}


@pytest.mark.parametrize(("status", "kind"), [(one, kind) for kind, all_ in MEANINGS.items() for one in all_])
def test_each_status_has_its_meaning(status, kind):
    verdict = Said(status, "", "said so").verdict(())
    assert isinstance(verdict, kind)
    assert getattr(verdict, "slow_down", False) is (status in {421, 429})
    assert not getattr(verdict, "suppress", False)
    assert verdict.reply.code == status
    assert verdict.reply.reason.endswith(".")


def test_too_large_is_told_as_such():
    assert "larger" in Said(413).verdict(()).reply.reason


#: Headers of a 429, the header of the provider's own and its unit, and the seconds.
WAITS = [
    ({"retry-after": "7"}, None, 7.0),
    ({"retry-after": " 7.5 "}, None, 7.5),
    ({"retry-after": "0"}, None, 0.0),
    ({"retry-after": formatdate(NOW + 90, usegmt=True)}, None, 90.0),
    ({"retry-after": formatdate(NOW - 90, usegmt=True)}, None, 0.0),
    ({"retry-after": "999999999"}, None, LONGEST_WAIT),
    ({"retry-after": "soon"}, None, None),
    ({"retry-after": "-5"}, None, None),
    ({"retry-after": ""}, None, None),
    ({}, None, None),
    ({"x-reset": "30"}, None, None),
    ({"x-reset": "30"}, ("x-reset", "seconds"), 30.0),
    ({"x-reset": str(int(NOW + 30))}, ("x-reset", "unix"), 30.0),
    ({"x-reset": str(int(NOW - 30))}, ("x-reset", "unix"), 0.0),
    ({"x-reset": "30"}, ("x-reset", "either"), 30.0),
    ({"x-reset": str(int(NOW + 30))}, ("x-reset", "either"), 30.0),
    ({"x-reset": "later"}, ("x-reset", "seconds"), None),
    ({}, ("x-reset", "seconds"), None),
    ({"x-reset": "30", "retry-after": "7"}, ("x-reset", "seconds"), 7.0),
    ({"x-reset": "30", "retry-after": "soon"}, ("x-reset", "seconds"), 30.0),
]


@pytest.mark.parametrize(("headers", "reset", "seconds"), WAITS)
def test_how_long_a_provider_asks_to_wait(headers, reset, seconds):
    assert Answer(429, headers).wait(reset, NOW) == seconds


def test_a_providers_own_header_says_something_of_429_alone():
    """It is on every answer; Retry-After is on those that mean it."""
    headers = {"x-reset": "30"}
    assert Answer(500, headers).wait(("x-reset", "seconds"), NOW) is None
    assert Answer(503, {**headers, "retry-after": "7"}).wait(("x-reset", "seconds"), NOW) == 7.0


@pytest.mark.parametrize(
    ("asked", "ours", "expected"), [(None, 60.0, 60.0), (7.0, 60.0, 60.0), (90.0, 60.0, 90.0)]
)
def test_the_longer_wait_counts(asked, ours, expected):
    rules = (Rule("500", "", "", after(ours), "Later.", "here"),)
    verdict = Said(500, "", "", asked).verdict(rules)
    assert isinstance(verdict, Deferred)
    assert verdict.retry_after == expected


OWN = (
    Rule("400", "", r"\bsender\b|from", our_fault, "The sender.", "here"),
    Rule("400", "", r"domain", refused, "The domain.", "here"),
    Rule("400", "Bad", r"address", bad_address, "The address.", "here"),
)
#: What is said, under which code, and what is told of it.
QUOTES = [
    ("the sender is unknown", "", "The sender."),
    ("sender@domain.example is a bad address", "bad", "The address."),
    ("'sender@example.org' is a bad address", "BAD", "The address."),
    ('"to": "from@example.org", address', "Bad", "The address."),
    ("<from+sender@x.example>: address (a@domain.example, from@domain.example)", "Bad", "The address."),
    ("sender@example.org is a bad address", "Worse", "The provider refused this message."),
    ("sender@example.org, says the sender", "", "The sender."),
    ("the\nSENDER", "", "The sender."),
]


@pytest.mark.parametrize(("text", "code", "reason"), QUOTES)
def test_addresses_that_are_quoted_decide_nothing(text, code, reason):
    verdict = Said(400, code, text).verdict(OWN)
    assert verdict.reply.reason == reason
    assert verdict.reply.text.endswith(" ".join(text.split()))  # but they are told
