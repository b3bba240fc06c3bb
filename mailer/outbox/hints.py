"""Hints that nobody waits for: published after the commit, on a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from mailer import forks
from mailer.errors import BrokerUnavailable, ConfigError
from mailer.ledger.contract import campaign_of
from mailer.publisher import Publisher

log = logging.getLogger(__name__)

#: After a failure nothing is published for this long: a broker that hangs costs seconds per attempt, and
#: the workers' pump finds the rows by itself.
REST_SECONDS = 5.0
#: Hints that wait for the broker; more are left to the pump.
MOST_WAITING = 10_000
#: What comes faster than hints can be published waits so long for more: a hint is dearer than a send. One
#: that comes alone is published at once.
GATHER_SECONDS = 0.01
#: Rows of one hint.
ROWS_PER_HINT = 50

_Hint = tuple[Sequence[int], str]


class Hints:
    """``announce`` takes microseconds, whatever the broker does. The thread starts with the first hint."""

    def __init__(self, broker_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = broker_url
        self._clock = clock
        self._waiting: SimpleQueue[_Hint | None] = SimpleQueue()
        self._rest_until = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def announce(self, ids: Sequence[int], stream: str) -> None:
        if self._clock() < self._rest_until or self._waiting.qsize() > MOST_WAITING:
            return
        self._start()
        self._waiting.put((ids, stream))

    def close(self, seconds: float) -> None:
        """Publish what waits for so long at most. What is left is found by the pump."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(seconds)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mailer-hints", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        publisher: Publisher | None = None
        last = busy = False
        while not last and (first := self._waiting.get()) is not None:
            if busy:
                time.sleep(GATHER_SECONDS)
            waiting, last = self._all_with(first)
            try:
                for ids, stream in _joined(waiting):
                    with forks.helpers.inside():  # the first imports Celery
                        publisher = publisher or Publisher(self._url)
                        publisher.publish(ids, stream)
            except (BrokerUnavailable, ConfigError) as error:
                self._rest_until = self._clock() + REST_SECONDS
                log.warning("hint not published, again in %.0f s: %s", REST_SECONDS, error)
                last = self._drop() or last
            busy = not self._waiting.empty()
        if publisher is not None:
            publisher.close()

    def _all_with(self, first: _Hint) -> tuple[list[_Hint], bool]:
        """What came while the last hint was published goes together: a hint costs more than all of a send
        (docs/performance.md). True: nothing comes any more."""
        found = [first]
        with suppress(Empty):
            while len(found) < MOST_WAITING:
                following = self._waiting.get_nowait()
                if following is None:
                    return found, True
                found.append(following)
        return found, False

    def _drop(self) -> bool:
        """What waits behind a failure is the pump's. True: it was the end of the queue."""
        while True:
            try:
                if self._waiting.get_nowait() is None:
                    return True
            except Empty:
                return False


def _joined(hints: Iterable[_Hint]) -> Iterator[tuple[list[int], str]]:
    """A hint is of one campaign, and of no more rows than one may have."""
    groups: dict[tuple[int, str], list[int]] = {}
    for ids, stream in hints:
        for id_ in ids:
            groups.setdefault((campaign_of(id_), stream), []).append(id_)
    for (_, stream), rows in groups.items():
        for first in range(0, len(rows), ROWS_PER_HINT):
            yield rows[first : first + ROWS_PER_HINT], stream
