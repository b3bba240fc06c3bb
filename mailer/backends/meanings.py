"""What a rule of ``answers`` makes of a reply: whose fault it is, and when to try again."""

from __future__ import annotations

from collections.abc import Callable

from mailer.message import Blocked, Deferred, Rejected, Reply, Unknown

Verdict = Deferred | Rejected | Blocked | Unknown
Then = Callable[[Reply], Verdict]


def later(reply: Reply) -> Verdict:
    return Deferred(reply)


def slower(reply: Reply) -> Verdict:
    return Deferred(reply, slow_down=True)


def refused(reply: Reply) -> Verdict:
    return Rejected(reply)


def bad_address(reply: Reply) -> Verdict:
    return Rejected(reply, suppress=True)


def our_fault(reply: Reply) -> Verdict:
    return Blocked(reply)


def ambiguous(reply: Reply) -> Verdict:
    """It may have been sent."""
    return Unknown(reply)


def after(seconds: float) -> Then:
    """Try again, but not within ``seconds``."""
    return lambda reply: Deferred(reply, retry_after=seconds)
