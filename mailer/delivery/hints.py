"""Hints over Celery: published from a thread, remembered for a moment, then forgotten."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mailer.delivery.contract import Hint
from mailer.delivery.dispatcher import Done
from mailer.delivery.jobs import Delivered
from mailer.errors import BrokerUnavailable, LedgerError
from mailer.publisher import Publisher

log = logging.getLogger(__name__)

#: A hint that nobody has claimed by then may be lost; the pump hints its rows again.
FORGOTTEN_AFTER = 5.0
#: After a failure nothing is published for this long. Short, because nobody waits for the attempts, and mail
#: that somebody waits for is to leave within two seconds of the broker's return.
REST_AFTER_FAILURE = 0.5
#: Outstanding at most the hints that are claimed in this many seconds, so that no broker fills up ...
SECONDS_OF_WORK = 2.0
#: ... but at least this many, so that the first workers find something to do.
LEAST_HINTS = 8
#: How often the ledger is asked what became of the hints.
LOOK_EVERY = 0.1
#: Over how long the pace of the workers is measured.
PACE_SECONDS = 5.0

#: Of these rows, those that nobody holds, with the seconds that they have been due.
WaitingFor = Callable[[Sequence[int]], Awaitable[Mapping[int, float]]]


@dataclass(slots=True, eq=False)
class _Out:
    hint: Hint
    at: float
    published: bool = False


class CeleryDispatcher:
    """Implements ``Dispatcher`` over a broker. For one event loop, which it never blocks.

    It is told nothing: a hint counts as claimed when its first row no longer waits, because a claim takes a
    hint's rows in one statement. ``done`` is called then, on the loop. A failure to publish is no error:
    the rows stay where they are, and are hinted again after a rest.
    """

    def __init__(
        self,
        publisher: Publisher,
        waiting_for: WaitingFor,
        *,
        recipients_per_task: int = 200,
        done: Callable[[Done], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._waiting_for = waiting_for
        self._rows_per_hint = recipients_per_task
        self.done = done
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hints")
        self._out: dict[int, _Out] = {}  # by the hint's first row
        self._pace = _Pace(clock)
        self._rest_until = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def free(self, stream: str = "bulk") -> int:
        """Rows for as many hints as fit; smaller hints count as much as full ones."""
        if self._closed or self._clock() < self._rest_until:
            return 0
        most = max(LEAST_HINTS, int(SECONDS_OF_WORK * self._pace.per_second))
        own = sum(out.hint.stream == stream for out in self._out.values())
        return max(0, most - own) * self._rows_per_hint

    def outstanding(self) -> frozenset[int]:
        return frozenset(id_ for out in self._out.values() for id_ in out.hint.ids)

    async def dispatch(self, hint: Hint) -> None:
        if self._closed or not hint.ids or hint.ids[0] in self._out:
            return
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        out = _Out(hint, self._clock())
        self._out[hint.ids[0]] = out
        publishing = asyncio.get_running_loop().run_in_executor(self._thread, self._publish, hint)
        publishing.add_done_callback(lambda future: self._published(out, future))

    async def drain(self, seconds: float) -> bool:
        """The work is elsewhere; there is nothing here to wait for."""
        self._closed = True
        return True

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _publish(self, hint: Hint) -> None:
        """In the thread. What queued up behind a failure does not try."""
        if self._clock() < self._rest_until:
            raise BrokerUnavailable("resting after a failure")
        try:
            self._publisher.publish(hint.ids, hint.stream)
        except BrokerUnavailable as error:
            self._rest_until = self._clock() + REST_AFTER_FAILURE
            log.warning("hints not published, again in %g s: %s", REST_AFTER_FAILURE, error)
            raise

    def _published(self, out: _Out, future: asyncio.Future[None]) -> None:
        if future.cancelled():
            return
        if future.exception() is not None:
            self._forget(out)
            return
        out.published = True

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = self._clock()
            asked = {first: out for first, out in self._out.items() if out.published}
            try:
                waiting = await self._waiting_for(list(asked)) if asked else {}
            except LedgerError as error:
                log.warning("hints not followed up: %s", error)
                waiting = dict.fromkeys(asked, math.inf)
            self._sort_out(asked, waiting, now)

    def _sort_out(self, asked: Mapping[int, _Out], waiting: Mapping[int, float], now: float) -> None:
        """A first row that waits for less time than its hint is out was claimed meanwhile, and given back."""
        claimed = [out for first, out in asked.items() if waiting.get(first, 0.0) < now - out.at]
        lost = [out for out in asked.values() if now - out.at >= FORGOTTEN_AFTER]
        if claimed:
            self._pace.claimed(len(claimed))
        for out in claimed + lost:
            self._forget(out)

    def _forget(self, out: _Out) -> None:
        first = out.hint.ids[0]
        if self._out.get(first) is not out:
            return
        del self._out[first]
        if self.done is not None:
            self.done(Done(out.hint, Delivered()))


class _Pace:
    """Hints claimed per second, over the last seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, int]] = deque()

    def claimed(self, hints: int) -> None:
        self._looks.append((self._clock(), hints))

    @property
    def per_second(self) -> float:
        now = self._clock()
        while self._looks and now - self._looks[0][0] > PACE_SECONDS:
            self._looks.popleft()
        if not self._looks:
            return 0.0
        return sum(hints for _, hints in self._looks) / max(now - self._looks[0][0], 5 * LOOK_EVERY)
