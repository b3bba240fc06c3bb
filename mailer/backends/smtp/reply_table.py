"""The reply table: first match wins. Data only; `replies.classify` reads it.

A rule is matched against ``"<basic code> <enhanced code or -> <text>"``, ignoring case, addresses taken
out of the text. What a rule leads to is said in ``mailer.backends.meanings``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mailer.backends.meanings import after, bad_address, later, our_fault, refused, slower
from mailer.message import Blocked, Deferred, Phase, Rejected, Reply

Refusal = Deferred | Rejected | Blocked
Then = Callable[[Reply], Refusal]


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    then: Then
    phases: frozenset[Phase]
    reason: str
    source: str


ANY = frozenset(Phase)
OPENING = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS})
LOGIN = frozenset({Phase.AUTH})
SENDER = frozenset({Phase.MAIL})
#: Wherever a reply may be about the recipient. MAIL is about the sender only.
RECIPIENT = ANY - OPENING - LOGIN - SENDER


def _rule(pattern: str, then: Then, phases: frozenset[Phase], reason: str, source: str) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE | re.DOTALL), then, phases, reason, source)


_FULL = r"(mailbox|inbox|user|recipient|account|storage)\b.*\b(full|over ?quota|quota|exceeded)|over ?quota"
_BLOCKLIST = (
    r"spam\b|spamhaus|spamcop|barracuda|unsolicited|reputation|(black|block|deny) ?list|\b(dns|r)bl\b"
    r"|(ip|host|address|server|client)\b.{0,40}\b(blocked|banned|listed)|blocked using"
    r"|\b(SC|DY|OU)-00\d|\[(BL|CS|HM|PH)\d+\]"
)
_UNVERIFIED = (
    r"\bDMARC\b|\bSPF\b|\bDKIM\b|unauthenticated (e-?)?mail"
    r"|reverse dns|\brDNS\b|\bPTR\b|cannot find your (reverse )?hostname"
)
_RELAY = (
    r"relay(ing)? (access )?(denied|not (permitted|allowed)|prohibited)"
    r"|(unable|not permitted|not allowed|refuse[sd]?) to relay"
)
_SENDER = (
    r"sender address|sender (rejected|denied|not|verify|domain)|not owned by|sendasdenied|send as this sender"
    r"|(from|sender|email) (address|identity|domain)\b.*\bnot (verified|allowed|valid|authori[sz]ed|match)"
    r"|does not match a verified|domain .*\bnot verified"
    r"|not (allowed|permitted|authori[sz]ed) to (send|use)\b.*\b(as|from|behalf|sender)"
)
_OUR_QUOTA = (
    r"(daily|hourly|monthly|sending|submission|message|messaging) (\w+ )?(quota|limits?|rate)\b"
    r"|maximum sending rate|credits? exceeded|out of credits|your account (has|is|was)\b"
)
_LOGIN_NEEDED = (
    r"(authentication|login|starttls|tls|encryption)\b.{0,20}\brequired"
    r"|(must|please)\b.{0,20}\b(authenticate|starttls|log ?in)"
    r"|(client|sender) (was |is )?not authenticated|not logged in|auth(enticate)? first"
)
_NOBODY = (
    r"no such (user|recipient|mailbox|person|address|account|local)|unknown (user|recipient|mailbox|address)"
    r"|(user|recipient|mailbox|account|address)\b.{0,60}\b(unknown|not (be )?found|no longer exists)"
    r"|(user|recipient|mailbox|account|address)\b.{0,60}\b((does not|doesn't|not) exist)"
    r"|invalid (user|recipient|mailbox|address)|mailbox unavailable|no mailbox"
    r"|not a valid (user|mailbox|recipient)|doesn't have an? .{0,30}account"
)
_CLOSED = (
    r"(user|recipient|mailbox|account|address)\b.{0,60}"
    r"\b(disabled|inactive|suspended|deactivated|closed|expired)"
)
_TOO_LARGE = r"too (large|big)|size (limit|exceed)|exceed.{0,40}\bsize|maximum.{0,30}\bsize"
_RATE = (
    r"rate.?limit|throttl|too (many|much|fast|frequent)|thread limit|concurren|more slowly|sending rate"
    r"|limits? exceeded|exceeded .{0,40}\b(limit|rate|quota)|\bRP-00\d|\bTSS?0\d"
)

# fmt: off
#: Enhanced codes: RFC 3463, RFC 5248 and the IANA registry. Texts: what servers and providers really say.
RULES: tuple[Rule, ...] = (
    # --- for now --------------------------------------------------------------------------------------
    _rule(r"4\d\d .*gr[ea]y.?list", after(300), ANY,
          "The server asks unknown senders to try again in a few minutes (greylisting).", "RFC 6647"),
    _rule(r"4\d\d 4\.2\.2 ", after(3600), ANY,
          "The recipient's mailbox is full.", "RFC 3463 X.2.2"),
    _rule(rf"4\d\d - .*({_RATE})", slower, ANY,
          "The server asks us to send more slowly.", "provider texts"),
    _rule(rf"4\d\d - .*({_FULL})", after(3600), ANY,
          "The recipient's mailbox is full.", "provider texts"),
    _rule(r"45[02] 4\.5\.3 ", later, ANY,
          "Too many recipients in one message for this server.", "RFC 3463 X.5.3"),
    _rule(r"450 4\.2\.1 ", after(900), ANY,
          "The recipient gets more mail than its server allows.", "support.google.com/a/answer/3726730"),
    _rule(r"421 ", slower, ANY,
          "The server is closing connections: it is busy, or we are too fast.", "RFC 5321 4.2.3"),
    _rule(r"454 ", slower, ANY,
          "The server cannot check our login or security right now.", "RFC 4954 section 6"),
    _rule(r"4\d\d 4\.7\.", slower, ANY,
          "The server limits us for policy or reputation.", "RFC 3463 X.7"),
    _rule(rf"4\d\d .*({_RATE})", slower, ANY,
          "The server asks us to send more slowly.", "provider texts"),
    _rule(r"452 4\.3\.1 |452 - ", later, ANY,
          "The server is short of storage.", "RFC 5321 4.2.3"),
    _rule(r"4\d\d 4\.1\.8 ", later, ANY,
          "The server could not look up the sender's domain.", "RFC 3463 X.1.8"),
    _rule(r"4\d\d 4\.4\.", later, ANY,
          "The server cannot reach the recipient's server right now.", "RFC 3463 X.4"),
    _rule(r"4\d\d ", later, ANY,
          "The server cannot take this message right now.", "RFC 5321 4.2.1"),
    # --- login and opening ----------------------------------------------------------------------------
    _rule(r"5\d\d ", our_fault, LOGIN,
          "The server refused our login: check user, password and the account.", "RFC 4954 section 6"),
    _rule(r"53[0458] ", our_fault, ANY,
          "The server wants a login or encryption first.", "RFC 4954 section 6"),
    _rule(rf"5\d\d .*({_BLOCKLIST}|{_UNVERIFIED})", our_fault, OPENING,
          "The server refuses connections from our address.", "provider texts"),
    _rule(r"5\d\d 5\.7\.", our_fault, OPENING,
          "The server refuses connections from us by policy.", "RFC 3463 X.7"),
    _rule(r"5\d\d ", later, OPENING,
          "The server does not take mail right now.", "RFC 5321 3.1, RFC 7504"),
    # --- size and form --------------------------------------------------------------------------------
    _rule(r"5\d\d 5\.2\.2 ", after(3600), RECIPIENT,
          "The recipient's mailbox is full.", "RFC 3463 X.2.2"),
    _rule(r"5\d\d 5\.(2\.3|3\.4) ", refused, ANY,
          "The message is larger than the server takes.", "RFC 3463 X.2.3, X.3.4"),
    _rule(rf"55[24] (-|5\.0\.0) .*({_TOO_LARGE})", refused, ANY,
          "The message is larger than the server takes.", "provider texts"),
    _rule(r"5\d\d 5\.5\.3 |552 .*too many recipients", later, ANY,
          "Too many recipients in one message for this server.", "RFC 5321 4.5.3.1.10"),
    _rule(r"552 5\.7\.", refused, ANY,
          "The server refuses an attachment or link in this message.", "support.google.com/mail/answer/6590"),
    _rule(rf"552 .*({_FULL})", after(3600), RECIPIENT,
          "The recipient's mailbox is full.", "RFC 5321 4.2.3"),
    _rule(r"552 ", refused, ANY,
          "The message is larger than the server takes.", "RFC 5321 4.2.3"),
    _rule(r"5\d\d 5\.6\.", refused, ANY,
          "The server cannot handle the form of this message.", "RFC 3463 X.6"),
    # --- this address, by enhanced code ---------------------------------------------------------------
    _rule(r"5\d\d 5\.1\.(7|8) ", our_fault, ANY,
          "The server does not accept the sender's address.", "RFC 3463 X.1.7, X.1.8"),
    _rule(r"5\d\d 5\.1\.90 ", our_fault, ANY,
          "Our account has reached its sending limit.", "Exchange Online NDR 5.1.90"),
    _rule(r"5\d\d 5\.1\.1 ", bad_address, RECIPIENT,
          "There is no such mailbox.", "RFC 3463 X.1.1"),
    _rule(r"5\d\d 5\.1\.2 ", bad_address, RECIPIENT,
          "The recipient's domain does not exist or takes no mail.", "RFC 3463 X.1.2"),
    _rule(r"5\d\d 5\.1\.3 ", bad_address, RECIPIENT,
          "The address is not written correctly.", "RFC 3463 X.1.3"),
    _rule(r"5\d\d 5\.1\.6 ", bad_address, RECIPIENT,
          "The mailbox has moved and left no new address.", "RFC 3463 X.1.6"),
    _rule(r"5\d\d 5\.1\.10 |556 ", bad_address, RECIPIENT,
          "The recipient's domain takes no mail.", "RFC 7505, RFC 7504"),
    _rule(r"5\d\d 5\.2\.1 |5\d\d 5\.7\.13 ", bad_address, RECIPIENT,
          "The mailbox is disabled.", "RFC 3463 X.2.1, RFC 5248 X.7.13"),
    _rule(r"5\d\d 5\.7\.1[78] ", bad_address, RECIPIENT,
          "The mailbox or its domain belongs to somebody else now.", "RFC 7293"),
    _rule(r"5\d\d 5\.4\.1 recipient address rejected", bad_address, RECIPIENT,
          "There is no such mailbox.", "Exchange Online NDR 5.4.1"),
    _rule(r"5\d\d 5\.7\.(12|124|13[3-6]) ", refused, RECIPIENT,
          "This mailbox takes mail from its own organisation only.", "Exchange Online NDR 5.7.x"),
    # --- the sender's fault ---------------------------------------------------------------------------
    _rule(r"5\d\d 5\.4\.5 ", our_fault, ANY,
          "Our account has reached its sending limit.", "support.google.com/a/answer/3726730"),
    _rule(r"5\d\d 5\.7\.(2[0-7]|29|30|515) ", our_fault, ANY,
          "The sender's domain does not pass SPF, DKIM or DMARC.", "RFC 7372, IANA X.7.20-30"),
    _rule(r"5\d\d 5\.7\.28 ", our_fault, ANY,
          "The server sees too much unwanted mail from us.", "IANA X.7.28"),
    _rule(r"5\d\d 5\.7\.(57|60|64) ", our_fault, ANY,
          "Our account may not send as this sender, or is not logged in.", "Exchange Online NDR 5.7.x"),
    _rule(r"5\d\d 5\.7\.([567]\d\d) ", our_fault, ANY,
          "The server blocks our account, domain or address.", "Exchange Online NDR 5.7.5xx-7xx"),
    _rule(r"5\d\d 5\.7\.(0|8|9|10|11) ", our_fault, ANY,
          "The server wants a login, encryption or another policy kept.", "RFC 4954, RFC 5248"),
    _rule(r"554 5\.2\.252 ", our_fault, ANY,
          "Our account may not send as this sender.", "Exchange Online SendAsDenied"),
    _rule(rf"5\d\d .*({_RELAY})", our_fault, ANY,
          "The server does not relay for us: log in, or use the right server.", "provider texts"),
    _rule(rf"5\d\d .*({_LOGIN_NEEDED})", our_fault, ANY,
          "The server wants a login or encryption first.", "provider texts"),
    _rule(r"5\d\d .*helo", our_fault, ANY,
          "The server does not accept our own host name (EHLO).", "Postfix texts"),
    _rule(rf"5\d\d .*({_SENDER})", our_fault, ANY,
          "The server does not accept the sender's address.", "Postfix, SES, SendGrid texts"),
    _rule(rf"5\d\d .*({_OUR_QUOTA})", our_fault, ANY,
          "Our account has reached its sending limit, or is closed.", "provider texts"),
    # --- this address, by text ------------------------------------------------------------------------
    _rule(rf"5\d\d (-|5\.0\.0|5\.5\.0) .*({_NOBODY})", bad_address, RECIPIENT,
          "There is no such mailbox.", "provider texts"),
    _rule(rf"5\d\d (-|5\.0\.0|5\.5\.0) .*({_CLOSED})", bad_address, RECIPIENT,
          "The mailbox is disabled.", "provider texts"),
    _rule(rf"5\d\d (-|5\.0\.0) .*({_FULL})", after(3600), RECIPIENT,
          "The recipient's mailbox is full.", "provider texts"),
    # --- policy ---------------------------------------------------------------------------------------
    _rule(rf"5\d\d .*({_UNVERIFIED})", our_fault, ANY,
          "The sender's domain or host does not pass SPF, DKIM, DMARC or reverse DNS.", "provider texts"),
    _rule(rf"5\d\d .*({_BLOCKLIST})", our_fault, ANY,
          "The server takes our mail for spam, or our address is on a blocklist.", "provider texts"),
    _rule(r"5\d\d 5\.7\.1 .*(not authori[sz]ed|blocked|local policy|access denied)", our_fault, ANY,
          "The server does not let us send here.", "RFC 3463 X.7.1"),
    # --- out of step, and the rest --------------------------------------------------------------------
    _rule(r"50[0234] (-|5\.5\.\d+) ", later, ANY,
          "The server did not understand us; it is tried again on a new connection.", "RFC 5321 4.2.3"),
    _rule(r"5\d\d ", our_fault, SENDER,
          "The server does not accept the sender.", "RFC 5321 4.2.3"),
    _rule(r"5\d\d 5\.7\.", refused, ANY,
          "The recipient's server refuses this message by policy.", "RFC 3463 X.7"),
    _rule(r"5\d\d 5\.4\.", refused, ANY,
          "The server cannot reach the recipient's server.", "RFC 3463 X.4"),
    _rule(r"5\d\d ", refused, ANY,
          "The server refused this message for good.", "RFC 5321 4.2.1"),
    # --- not a reply that may stand here --------------------------------------------------------------
    _rule(r"", later, ANY,
          "The server answered something that makes no sense here.", "RFC 5321 4.3.2"),
)
# fmt: on
