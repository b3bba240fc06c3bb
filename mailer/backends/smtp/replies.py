"""What an SMTP reply means, and what to do next. Decides nothing else, so other rooms may ask too."""

from __future__ import annotations

import re

from mailer.backends.smtp.reply_table import RULES, Refusal, Rule
from mailer.message import Accepted, Phase, Reply

#: What a reply can mean. Whatever it is, the reply itself is in it.
Verdict = Accepted | Refusal

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?![\d.])[ \t:]*")
_ADDRESS = re.compile(r"<?[^\s<>]{1,80}@[^\s<>]{1,255}>?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_MAX_TEXT = 500

#: How servers name the message they took over: Postfix; Exim; Exchange; Sendmail and OpenSMTPD; Amazon SES.
_REFERENCE = re.compile(
    r"queued(?: mail for delivery)? as <?([^\s>]+)"
    r"|\bid=(\S+)"
    r"|InternalId=(\d+)"
    r"|^(\S+) Message accepted for delivery"
    r"|^Ok:? ([^\s=]{16,})$",
    re.IGNORECASE,
)


def classify(code: int, text: str, phase: Phase) -> Verdict:
    """What this reply means for the message; pure.

    ``text`` is what followed the basic code, its lines joined by newlines, the enhanced code still in
    front. A 2xx is Accepted whatever the phase: the caller knows which command it answered. The basic
    code's class wins over that of the enhanced code (RFC 3463 leaves it open; servers disagree with
    themselves). The first rule of the table that matches decides.
    """
    if 200 <= code < 300:
        return accepted(code, text, phase)
    reply = read(code, text, phase)
    rule = deciding_rule(reply, phase)
    return rule.then(Reply(reply.text, code, reply.enhanced, phase, rule.reason))


def deciding_rule(reply: Reply, phase: Phase) -> Rule:
    """The first that matches; the last matches anything."""
    subject = _subject(reply)
    return next(rule for rule in RULES if phase in rule.phases and rule.pattern.match(subject))


def accepted(code: int, text: str, phase: Phase = Phase.DOT) -> Accepted:
    """A 2xx to the final dot, with the server's own name for the message when it gives one."""
    reply = read(code, text, phase)
    match = _REFERENCE.search(reply.text)
    return Accepted(reply, next(filter(None, match.groups()), None) if match else None)


def read(code: int, text: str, phase: Phase, reason: str = "") -> Reply:
    """One line without codes and control characters, at most 500 characters."""
    match = _ENHANCED.match(text)
    if match is None:
        return Reply(_one_line(text), code, None, phase, reason)
    enhanced = match[1]
    body = text[match.end() :]
    if "\n" in body:
        body = "\n".join(line.removeprefix(enhanced).strip() for line in body.split("\n"))
    return Reply(_one_line(body), code, enhanced, phase, reason)


def _one_line(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text[:_MAX_TEXT]
    return _CONTROL.sub(" ", text).strip()[:_MAX_TEXT]


def _subject(reply: Reply) -> str:
    """``550 5.1.1 text``: the class of the basic code, and no addresses, whose words mean nothing."""
    enhanced = f"{str(reply.code)[0]}{reply.enhanced[1:]}" if reply.enhanced else "-"
    return f"{reply.code} {enhanced} {_ADDRESS.sub('', reply.text)}"
