"""Hints that nobody waits for: published after the commit, on a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from mailer.errors import BrokerUnavailable, ConfigError
from mailer.ledger.contract import campaign_of
from mailer.publisher import Publisher

log = logging.getLogger(__name__)

#: After a failure nothing is published for this long: a broker that hangs costs seconds per attempt, and
#: the workers' pump finds the rows by itself.
REST_SECONDS = 5.0
#: Hints that wait for the broker; more are left to the pump.
MOST_WAITING = 10_000
#: Rows of one hint.
ROWS_PER_HINT = 50

_Hint = tuple[list[int], str]


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
        for campaign_ids in _by_campaign(ids):
            for first in range(0, len(campaign_ids), ROWS_PER_HINT):
                self._waiting.put((campaign_ids[first : first + ROWS_PER_HINT], stream))

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
        while (hint := self._waiting.get()) is not None:
            try:
                publisher = publisher or Publisher(self._url)
                publisher.publish(*hint)
            except (BrokerUnavailable, ConfigError) as error:
                self._rest_until = self._clock() + REST_SECONDS
                log.warning("hint not published, again in %.0f s: %s", REST_SECONDS, error)
                if self._drop():
                    break
        if publisher is not None:
            publisher.close()

    def _drop(self) -> bool:
        """What waits behind a failure is the pump's. True: it was the end of the queue."""
        while True:
            try:
                if self._waiting.get_nowait() is None:
                    return True
            except Empty:
                return False


def _by_campaign(ids: Sequence[int]) -> list[list[int]]:
    """A hint is of one campaign."""
    groups: dict[int, list[int]] = {}
    for id_ in ids:
        groups.setdefault(campaign_of(id_), []).append(id_)
    return list(groups.values())
