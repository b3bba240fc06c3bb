"""A fork while other threads are at work.

The child has only the thread that forked. A lock that another thread held stays locked in it for ever: ours,
that of a module being imported, of a library, and those in C that Python never sees. SQLite's are of that
kind: of nine children forked beside four busy threads three hung in ``sqlite3.connect``.

So a fork waits until nobody is inside, and who comes meanwhile waits for the fork. There are three gates, one
below the other: who is inside one may wait for somebody inside a lower one, never the other way round.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - it takes a lock before a fork: that must come after we have waited
import logging
import os
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol
from weakref import WeakValueDictionary

log = logging.getLogger(__name__)

#: A fork waits so long for the other threads. Then it happens nevertheless: what waits for another process,
#: or for a broker that hangs, mostly holds nothing that a child needs.
PATIENCE_SECONDS = 5.0


class Gate:
    """As many threads as like are inside, each as often as it likes, until a fork closes it."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._closed = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        """No fork meanwhile."""
        me = threading.get_ident()
        with self._changed:
            while self._closed and me not in self._inside:
                self._changed.wait()
            self._inside[me] = self._inside.get(me, 0) + 1
        try:
            yield
        finally:
            self._leave(me)

    def halt(self, until: float) -> bool:
        """Closed. True: nobody but this thread is inside."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(self._empty, max(until - time.monotonic(), 0.0))

    def go_on(self) -> None:
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def entered(self) -> bool:
        """By this thread."""
        return threading.get_ident() in self._inside

    def after_fork(self) -> None:
        """In the child: the others are gone, and may have had the lock of this one."""
        self._changed = threading.Condition(threading.Lock())
        self._closed = False
        for thread in self._inside.keys() - {threading.get_ident()}:
            del self._inside[thread]

    def _empty(self) -> bool:
        return not self._inside.keys() - {threading.get_ident()}

    def _leave(self, thread: int) -> None:
        with self._changed:
            left = self._inside.pop(thread, 1) - 1
            if left:
                self._inside[thread] = left
            elif self._closed:
                self._changed.notify_all()


class LoopThread:
    """A thread that runs an event loop: it is stopped between two steps. Made on that thread."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._ended = False
        self._stopped = threading.Event()
        self._go = threading.Event()
        _loops[id(self)] = self

    def halt(self, until: float) -> bool:
        """True: it stands, or has ended."""
        self._stopped, self._go = threading.Event(), threading.Event()
        if self._ended or self._thread == threading.get_ident():
            return True
        try:
            self._loop.call_soon_threadsafe(self._stand, self._stopped, self._go)
        except RuntimeError:  # the loop has been closed
            return True
        return self._ended or self._stopped.wait(max(until - time.monotonic(), 0.0))

    def go_on(self) -> None:
        self._go.set()

    def end(self) -> None:
        """On that thread, before its loop ends."""
        self._ended = True
        self._stopped.set()

    @staticmethod
    def _stand(stopped: threading.Event, go: threading.Event) -> None:
        stopped.set()
        go.wait()


class Closed(Protocol):
    """Something open that a child must not inherit."""

    def before_fork(self) -> None:
        """Nobody is inside a gate, mostly. Must not wait."""


class Renewed(Protocol):
    """Something that a child must not have in common with its parent."""

    def after_fork(self) -> None:
        """In the child. Must not wait, and take no lock that it has not made itself."""


#: Calls of the application, which may wait for the two below.
calls = Gate()
#: Threads that work for it beside its calls. Those that run a loop are stopped between its steps.
helpers = Gate()
#: Transactions. Who is inside waits for nobody but the database.
transactions = Gate()

#: What the parent had, for the child to leave alone: what nobody refers to any more would be closed in it.
parents: list[Any] = []

_loops: WeakValueDictionary[int, LoopThread] = WeakValueDictionary()
_halted: list[LoopThread] = []
_closed: WeakValueDictionary[int, Closed] = WeakValueDictionary()
_renewed: WeakValueDictionary[int, Renewed] = WeakValueDictionary()
#: One fork after the other.
_turn = threading.RLock()


def closed_before_fork(thing: Closed) -> None:
    """As long as there is one."""
    _closed[id(thing)] = thing


def renewed_after_fork(thing: Renewed) -> None:
    """As long as there is one."""
    _renewed[id(thing)] = thing


def _alive(things: WeakValueDictionary[int, Any]) -> list[Any]:
    # In one step, whatever other threads add meanwhile.
    return [thing for reference in things.valuerefs() if (thing := reference()) is not None]


def _before() -> None:
    _turn.acquire()
    until = time.monotonic() + PATIENCE_SECONDS
    still = [calls.halt(until), helpers.halt(until)]
    _halted[:] = _alive(_loops)
    still += [loop.halt(until) for loop in _halted]
    still.append(transactions.halt(until))
    if still[-1] and not transactions.entered():
        for thing in _alive(_closed):
            thing.before_fork()
    if not all(still):
        log.warning("forked beside threads that were at work for more than %.0f s", PATIENCE_SECONDS)


def _after_in_parent() -> None:
    transactions.go_on()
    while _halted:
        _halted.pop().go_on()
    helpers.go_on()
    calls.go_on()
    with suppress(RuntimeError):  # not ours: Ctrl-C came while we waited for it
        _turn.release()


def _after_in_child() -> None:
    global _turn  # noqa: PLW0603 - another thread may have had it, and nobody can let it go any more
    _turn = threading.RLock()
    parents.extend([*_halted, *_alive(_loops)])
    _halted.clear()
    _loops.clear()
    for thing in [transactions, helpers, calls, *_alive(_renewed)]:
        thing.after_fork()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
