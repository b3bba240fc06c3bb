"""What a rule makes of a reply, of SMTP or of a provider: the caller's next step, not the fault's origin.

* ``later``, ``slower``, ``after``  try again; try again at half the rate; try again no sooner than this
* ``refused``                       give this message up
* ``bad_address``                   give it up, and never mail this address again
* ``our_fault``                     the sender's fault: stop the backend, spare the recipient
* ``ambiguous``                     it may have been sent
"""

from __future__ import annotations

from collections.abc import Callable

from mailer.message import Blocked, Deferred, Rejected, Reply, Unknown

Verdict = Deferred | Rejected | Blocked | Unknown
Then = Callable[[Reply], Verdict]


def later(reply: Reply) -> Deferred:
    return Deferred(reply)


def slower(reply: Reply) -> Deferred:
    return Deferred(reply, slow_down=True)


def refused(reply: Reply) -> Rejected:
    return Rejected(reply)


def bad_address(reply: Reply) -> Rejected:
    return Rejected(reply, suppress=True)


def our_fault(reply: Reply) -> Blocked:
    return Blocked(reply)


def ambiguous(reply: Reply) -> Unknown:
    return Unknown(reply)


def after(seconds: float) -> Callable[[Reply], Deferred]:
    """Try again, but not within ``seconds``."""
    return lambda reply: Deferred(reply, retry_after=seconds)
