"""The reply table, row by row: this table is the documentation of what replies mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.backends.smtp.replies import accepted, classify, deciding_rule, read
from mailer.backends.smtp.reply_table import RULES
from mailer.message import Accepted, Blocked, Deferred, Phase, Rejected

M, R, D, DOT = Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT
SLOW, SUPPRESS, WAIT = "slow down", "suppress", "wait"

ROWS = [
    # --- for now
    (450, "4.2.0 <a@b.example>: Recipient address rejected: Greylisted, try again", R, Deferred, WAIT),
    (451, "4.7.1 Greylisting in action, please come back later", R, Deferred, WAIT),
    (451, "gray-listed, try again in 300 seconds", R, Deferred, WAIT),
    (452, "4.2.2 The email account that you tried to reach is over quota", R, Deferred, WAIT),
    (450, "mailbox is full", R, Deferred, WAIT),
    (452, "4.5.3 Error: too many recipients", R, Deferred, None),
    (450, "4.2.1 The user you are trying to contact is receiving mail at a rate", R, Deferred, WAIT),
    (421, "4.7.0 [TSS04] Messages temporarily deferred due to unexpected volume", M, Deferred, SLOW),
    (421, "4.3.2 Service shutting down", DOT, Deferred, SLOW),
    (421, "RP-001 The mail server IP connecting has exceeded the rate limit", Phase.GREETING, Deferred, SLOW),
    (454, "4.7.0 Temporary authentication failure", Phase.AUTH, Deferred, SLOW),
    (454, "Throttling failure: Maximum sending rate exceeded.", DOT, Deferred, SLOW),
    (450, "4.7.25 Client host rejected: cannot find your hostname", R, Deferred, SLOW),
    (451, "4.7.650 The mail server is temporarily rate limited, IP reputation", M, Deferred, SLOW),
    (452, "4.7.1 policy", R, Deferred, SLOW),
    (432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", DOT, Deferred, SLOW),
    (451, "too many messages, slow down", R, Deferred, SLOW),
    (452, "4.3.1 Insufficient system storage", M, Deferred, None),
    (450, "4.1.8 <x@y>: Sender address rejected: Domain not found", R, Deferred, None),
    (451, "4.4.1 connection timed out", R, Deferred, None),
    (451, "4.3.0 queue file write error", DOT, Deferred, None),
    (450, "later", D, Deferred, None),
    # --- login and opening
    (535, "5.7.8 Username and Password not accepted", Phase.AUTH, Blocked, None),
    (534, "5.7.9 Application-specific password required", Phase.AUTH, Blocked, None),
    (550, "5.7.13 account disabled", Phase.AUTH, Blocked, None),
    (530, "5.7.0 Must issue a STARTTLS command first", M, Blocked, None),
    (530, "Authentication required", M, Blocked, None),
    (538, "5.7.11 Encryption required for requested authentication mechanism", Phase.AUTH, Blocked, None),
    (554, "5.7.1 Client host blocked using zen.spamhaus.org", Phase.GREETING, Blocked, None),
    (550, "5.7.1 you are not welcome", Phase.EHLO, Blocked, None),
    (554, "no SMTP service here", Phase.GREETING, Deferred, None),
    (521, "mx.example does not accept mail", Phase.GREETING, Deferred, None),
    # --- size and form
    (552, "5.2.2 Mailbox full", R, Deferred, WAIT),
    (550, "5.2.2 user is over quota", DOT, Deferred, WAIT),
    (552, "5.3.4 Message size exceeds fixed limit", M, Rejected, None),
    (552, "5.2.3 Your message exceeded Google's message size limits", DOT, Rejected, None),
    (552, "message size exceeds maximum", M, Rejected, None),
    (554, "Message too large", DOT, Rejected, None),
    (552, "too many recipients", R, Deferred, None),
    (550, "5.5.3 Too many recipients", R, Deferred, None),
    (552, "5.7.0 blocked, its content presents a potential security issue", DOT, Rejected, None),
    (552, "Requested mail action aborted: mailbox quota", R, Deferred, WAIT),
    (552, "no", M, Rejected, None),
    (554, "5.6.1 Body type not supported by remote host", DOT, Rejected, None),
    # --- this address
    (550, "5.1.1 <nobody@x.example>: Recipient address rejected: User unknown", R, Rejected, SUPPRESS),
    (550, "5.1.2 Bad destination system", R, Rejected, SUPPRESS),
    (501, "5.1.3 Bad recipient address syntax", R, Rejected, SUPPRESS),
    (550, "5.1.6 mailbox has moved", R, Rejected, SUPPRESS),
    (556, "5.1.10 Recipient address has null MX", R, Rejected, SUPPRESS),
    (550, "5.1.1 no such user", DOT, Rejected, SUPPRESS),
    (550, "5.2.1 The email account that you tried to reach is disabled", R, Rejected, SUPPRESS),
    (525, "5.7.13 User Account Disabled", R, Rejected, SUPPRESS),
    (550, "5.7.17 Mailbox owner has changed", R, Rejected, SUPPRESS),
    (550, "5.4.1 Recipient address rejected: Access denied.", R, Rejected, SUPPRESS),
    (550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup", DOT, Rejected, None),
    (550, "No such user here", R, Rejected, SUPPRESS),
    (550, "5.5.0 Requested action not taken: mailbox unavailable", R, Rejected, SUPPRESS),
    (554, "delivery error: dd This user doesn't have a yahoo.com account", DOT, Rejected, SUPPRESS),
    (550, "No such user (antispam@x.example)", R, Rejected, SUPPRESS),
    (550, "account has been disabled", R, Rejected, SUPPRESS),
    (554, "mailbox is full", R, Deferred, WAIT),
    # --- the sender's fault
    (550, "5.1.8 <me@x>: Sender address rejected: Domain not found", R, Blocked, None),
    (550, "5.1.7 bad sender", M, Blocked, None),
    (550, "5.1.1 unknown", M, Blocked, None),
    (554, "5.1.90 Your message can't be sent, you've reached your daily limit", DOT, Blocked, None),
    (550, "5.4.5 Daily SMTP relay sending limit exceeded for user", M, Blocked, None),
    (550, "5.7.26 Unauthenticated email is not accepted due to DMARC policy", DOT, Blocked, None),
    (550, "5.7.27 SPF", DOT, Blocked, None),
    (550, "5.7.25 no PTR record", DOT, Blocked, None),
    (550, "5.7.29 no TLS", DOT, Blocked, None),
    (550, "5.7.515 Access denied, sending domain lacks authentication", DOT, Blocked, None),
    (550, "5.7.28 unusual rate of unsolicited mail", DOT, Blocked, None),
    (550, "5.7.60 SMTP; Client does not have permissions to send as this sender", DOT, Blocked, None),
    (550, "5.7.708 Access denied, traffic not accepted from this IP", DOT, Blocked, None),
    (554, "5.2.252 SendAsDenied; not allowed to send as", DOT, Blocked, None),
    (554, "5.7.9 Message not accepted for policy reasons", DOT, Blocked, None),
    (554, "5.7.1 <x@y>: Relay access denied", R, Blocked, None),
    (550, "relaying denied", R, Blocked, None),
    (550, "not permitted to relay", R, Blocked, None),
    (503, "5.5.1 AUTH first: authentication required", M, Blocked, None),
    (504, "5.5.2 <me>: Helo command rejected: need fully-qualified hostname", R, Blocked, None),
    (553, "5.7.1 <me@x>: Sender address rejected: not owned by user me", R, Blocked, None),
    (554, "Message rejected: Email address is not verified.", DOT, Blocked, None),
    (550, "The from address does not match a verified Sender Identity", DOT, Blocked, None),
    (550, "5.7.1 not authorized to send", R, Blocked, None),
    (554, "your account has been suspended", DOT, Blocked, None),
    (550, "5.7.1 Message rejected as spam", DOT, Blocked, None),
    (554, "5.7.1 [CS01] Message rejected due to local policy", DOT, Blocked, None),
    (550, "SC-001 Mail rejected", DOT, Blocked, None),
    (553, "5.7.1 [BL21] Connections will not be accepted from 192.0.2.1", M, Blocked, None),
    (550, "5.7.1 the IP you're using to send mail is not authorized to send directly", DOT, Blocked, None),
    (550, "Rejected by DMARC policy", DOT, Blocked, None),
    (550, "your host has no reverse DNS", R, Blocked, None),
    (550, "whatever", M, Blocked, None),
    # --- out of step, and the rest
    (500, "5.5.2 unrecognized command", R, Deferred, None),
    (502, "5.5.1 not implemented", D, Deferred, None),
    (503, "5.5.1 bad sequence of commands", DOT, Deferred, None),
    (500, "5.3.0 Error: command failed", DOT, Rejected, None),
    (500, "5.3.0 Error: command failed", M, Blocked, None),
    (550, "5.7.1 this recipient does not want your mail", DOT, Rejected, None),
    (550, "5.4.6 routing loop detected", DOT, Rejected, None),
    (554, "transaction failed", DOT, Rejected, None),
    (501, "syntax error in parameters", R, Rejected, None),
    (354, "go on", DOT, Deferred, None),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "phase", "kind", "how"), ROWS, ids=lambda value: str(value)[:40])
def test_what_a_reply_means(code: int, text: str, phase: Phase, kind: type, how: str | None) -> None:
    outcome = classify(code, text, phase)

    assert type(outcome) is kind
    assert outcome.reply.code == code
    assert outcome.reply.phase is phase
    assert outcome.reply.reason
    assert getattr(outcome, "slow_down", False) is (how == SLOW)
    assert getattr(outcome, "suppress", False) is (how == SUPPRESS)
    assert bool(getattr(outcome, "retry_after", None)) is (how == WAIT)


def test_every_rule_decides_some_row() -> None:
    deciding = [deciding_rule(read(code, text, phase), phase) for code, text, phase, _, _ in ROWS]

    assert [rule.pattern.pattern for rule in RULES if rule not in deciding] == []


def test_the_basic_codes_class_wins() -> None:
    assert type(classify(550, "4.1.1 unknown user", R)) is Rejected
    assert type(classify(450, "5.1.1 unknown user", R)) is Deferred
    assert classify(450, "5.1.1 unknown user", R).reply.enhanced == "5.1.1"


def test_any_2xx_is_accepted() -> None:
    assert type(classify(200, "fine", DOT)) is Accepted
    assert type(classify(252, "cannot verify, will try", R)) is Accepted


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("2.0.0 Ok: queued as 4F2A21", "4F2A21"),
        ("OK id=1rXYZ-0001-AB", "1rXYZ-0001-AB"),
        ("2.6.0 <x@y> [InternalId=12345, Hostname=z] Queued mail for delivery", "12345"),
        ("2.0.0 31aB5 Message accepted for delivery", "31aB5"),
        ("Ok 0102018f-aaaa-bbbb-000000", "0102018f-aaaa-bbbb-000000"),
        ("2.0.0 Ok", None),
        ("", None),
    ],
)
def test_the_servers_own_name_for_a_message(text: str, reference: str | None) -> None:
    assert accepted(250, text).reference == reference


def test_a_reply_of_several_lines_becomes_one() -> None:
    reply = read(550, "5.7.26 first\n5.7.26 second\n5.7.26 third", DOT)

    assert reply.text == "first second third"
    assert reply.enhanced == "5.7.26"


@given(
    st.integers(200, 599),
    st.text(max_size=3000),
    st.sampled_from([p for p in Phase if p is not Phase.RENDER]),
)
def test_whatever_a_server_says_has_a_meaning(code: int, text: str, phase: Phase) -> None:
    outcome = classify(code, text, phase)

    assert len(outcome.reply.text) <= 500
    assert outcome.reply.text.isprintable() or not outcome.reply.text.isascii()
    assert not set(outcome.reply.text) & set("\r\n\0\x1b\x85\u2028")
    if 400 <= code < 500:
        assert type(outcome) is Deferred
