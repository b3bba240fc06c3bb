"""Names that nobody can guess, cheaply.

Asking the operating system lets go of the interpreter: among busy threads that costs more than all of the
rest of a message. So it is asked once for many names.
"""

from __future__ import annotations

import os
import secrets

#: Octets of one name, and names that are drawn at once.
OCTETS = 8
AT_ONCE = 256

_drawn: list[str] = []
_drawn_by = 0


def public(at: float) -> str:
    """Of a message. Time first: neighbours in time are neighbours in the index."""
    return f"{int(at * 1000):011x}{_random()}"


def of_content() -> str:
    """As long as a SHA-256, and no content's."""
    return _random() + _random() + _random() + _random()


def _random() -> str:
    # Asked each time, because not all that fork tell Python of it: uWSGI does not.
    if _drawn_by != os.getpid():
        _forget_the_parents()
    try:
        return _drawn.pop()  # in one step: two threads never get the same
    except IndexError:
        more = secrets.token_hex(OCTETS * AT_ONCE)
        width = 2 * OCTETS
        first, *others = [more[at : at + width] for at in range(0, len(more), width)]
        _drawn.extend(others)
        return first


def _forget_the_parents() -> None:
    global _drawn_by  # noqa: PLW0603 - of this process, as what was drawn is
    _drawn.clear()
    _drawn_by = os.getpid()
