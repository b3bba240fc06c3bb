"""Named places at which a test can kill the process, to see what that leaves behind.

``MAILER_CRASH_AT=after_mark`` ends the process there, as ``kill -9`` would: nothing is flushed, closed
or rolled back. ``MAILER_CRASH_AT=after_mark:20`` does so at the twentieth passage,
``MAILER_CRASH_AT=after_mark:20:stop`` stops it there until SIGCONT, as a frozen machine would. Unset, a point
costs one comparison.
"""

from __future__ import annotations

import os
import signal

#: In the order in which one message passes them.
POINTS = (
    "before_claim",
    "after_claim",
    "before_render",
    "after_render",
    "before_connect",
    "after_connect",
    "before_envelope",
    "after_envelope",
    "before_mark",
    "after_mark",
    "before_dot",
    "after_dot",
    "after_reply",
    "before_settle",
    "after_settle",
)

_name, _count, _how = (*os.environ.get("MAILER_CRASH_AT", "").split(":"), "", "")[:3]
_armed = _name or None
_left = int(_count) if _count.isdigit() else 1


def point(name: str) -> None:
    """Die here when this point was asked for."""
    if _armed is not None and name == _armed:
        _count_down()


def armed(name: str) -> bool:
    """Whether this very point was asked for: its neighbourhood may then do slowly what it does at once."""
    return _armed is not None and name == _armed


def _count_down() -> None:
    global _left  # noqa: PLW0603 - one counter per process is the point
    _left -= 1
    if _left > 0:
        return
    if _how != "stop":
        os._exit(137)
    if _left == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
