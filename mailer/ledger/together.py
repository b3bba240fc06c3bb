"""What several threads want to write at the same time, in one go."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mailer import forks

Ask = TypeVar("Ask")


@dataclass(slots=True, eq=False)
class _Call(Generic[Ask]):
    asks: Sequence[Ask]
    leads: bool = False
    #: Free when its asks are written, or when it is to write for all that wait.
    waits: threading.Lock = field(default_factory=threading.Lock)


class Together(Generic[Ask]):
    """Whoever comes first writes. Who comes meanwhile waits; then one of those writes for all of them.

    Each is woken by itself as soon as it is done. With a lock for all, those that are done would wait behind
    the next write, and two of eight threads shared a commit instead of all that wait (docs/performance.md).
    """

    def __init__(self, write: Callable[[Sequence[Ask]], None]) -> None:
        """``write`` raises nothing: it leaves with each ask what became of it."""
        self._write = write
        self._guard = threading.Lock()
        self._calls: deque[_Call[Ask]] = deque()
        self._led = False
        forks.renewed_after_fork(self)

    def after_fork(self) -> None:
        """In the child: who led, and who waited, is in the parent."""
        self._guard = threading.Lock()
        self._calls = deque()
        self._led = False

    def put(self, asks: Iterable[Ask]) -> None:
        """Returns when they are written."""
        with forks.calls.inside():
            self._put(_Call(tuple(asks)))

    def _put(self, call: _Call[Ask]) -> None:
        call.waits.acquire()
        with self._guard:
            self._calls.append(call)
            call.leads = not self._led
            self._led = True
        if not call.leads:
            self._wait(call)
        if call.leads:
            self._lead()

    def _wait(self, call: _Call[Ask]) -> None:
        try:
            call.waits.acquire()
        except BaseException:  # Ctrl-C: who never comes back must not be left to lead
            with self._guard:
                if call in self._calls:
                    self._calls.remove(call)
                if call.leads:
                    self._hand_on()
            raise

    def _lead(self) -> None:
        with self._guard:
            calls = list(self._calls)
            self._calls.clear()
        try:
            self._write([ask for call in calls for ask in call.asks])
        finally:
            with self._guard:
                self._hand_on()
            for call in calls:
                call.waits.release()

    def _hand_on(self) -> None:
        self._led = bool(self._calls)
        if self._calls:
            self._calls[0].leads = True
            self._calls[0].waits.release()
