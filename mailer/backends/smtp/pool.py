"""The sessions of one backend in this process, and the queue they pull from."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby

from mailer.backends.contract import Use
from mailer.backends.share import Share
from mailer.backends.smtp.courier import Courier
from mailer.backends.smtp.jobs import Job
from mailer.backends.smtp.options import Options
from mailer.backends.smtp.session import Session
from mailer.errors import BackendUnusable
from mailer.message import Fenced

log = logging.getLogger(__name__)

#: A server that refused one connection more is asked again after this many seconds, then twice as many, …
GROW_AFTER = 5.0
GROW_AFTER_MOST = 300.0


class Pool:
    """At most ``share.most`` sessions, opened when messages wait, closed when none came for a while.

    First in, first out over all callers. A session pulls its next message itself, so a slow one holds
    up nothing but what it has. All of it runs in one event loop.
    """

    def __init__(
        self, options: Options, open_session: Callable[[], Awaitable[Session]], share: Share
    ) -> None:
        self._options = options
        self._share = share
        self._open_session = open_session
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Job] = deque()
        #: Their connection broke under them. For fresh connections only, whose end is then their own fault.
        self._again: deque[Job] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = 0
        self._opening: set[asyncio.Task[None]] = set()
        #: On their way out because the share has shrunk.
        self._leaving: set[Session] = set()
        #: How many sessions the server was seen to allow; ``connections`` until it refuses one.
        self._ceiling = options.connections
        self._grow_after = GROW_AFTER
        self._grow: asyncio.TimerHandle | None = None
        self._ordered = True
        self._closing = False

    def put(self, jobs: Iterable[Job]) -> None:
        """Behind everything that waits already."""
        self._queue.extend(jobs)
        self._hand_out()

    def demand(self) -> Use:
        """What is open and could be used; nothing is opened until ``allowed`` is called."""
        return Use(len(self._tasks), self._share.wanted(self._busy()))

    def allowed(self) -> None:
        """The share was set: close what is too much, open what may be."""
        self._wake(self._surplus())
        self._hand_out()
        waiting = [*self._again, *self._queue]
        if self._share.starved(len(waiting), len(self._tasks), self._loop.time()):
            self._again.clear()
            self._queue.clear()
            for job in waiting:  # whoever has connections may send them
                job.settle(Fenced())

    async def close(self, patience: float) -> None:
        """Nothing more is begun; what is under way may finish, for ``patience`` seconds, or is Unknown."""
        self._closing = True
        if self._grow is not None:
            self._grow.cancel()
        self._give_up(BackendUnusable(self._options.name, "it was closed"))
        self._wake(len(self._idle))
        await self._stop_opening()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _stop_opening(self) -> None:
        """Asked until it is so: see ``_cancelled``."""
        while self._opening:
            for task in self._opening:
                task.cancel()
            await asyncio.wait(self._opening.copy(), timeout=0.1)

    # --- what couriers call ----------------------------------------------------------------------

    async def next(self, session: Session, fresh: bool) -> Job | None:
        deadline = self._loop.time() + self._options.idle
        while session.usable and not self._closing:
            if self._surplus() > 0:
                self._leaving.add(session)
                return None
            job = (_pop(self._again) if fresh else None) or _pop(self._queue)
            if job is not None:
                return job
            if self._loop.time() >= deadline:
                return None
            await self._rest(session, deadline)
        return None

    def poll(self) -> Job | None:
        if self._queue and (self._closing or self._surplus() > 0 or self._queue[0].batch.suspect):
            return None
        return _pop(self._queue)

    def retry(self, job: Job) -> None:
        self._again.append(job)
        if self._closing:
            self._give_up(BackendUnusable(self._options.name, "it was closed"))
        self._hand_out()

    # --- inside ----------------------------------------------------------------------------------

    async def _rest(self, session: Session, deadline: float) -> None:
        """Idle: until there is work, the server says or does something, or the time is over."""
        waiter = self._loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        timer = self._loop.call_at(deadline, wake)
        self._idle.append(waiter)
        session.wire.notice(wake)
        try:
            await waiter
        finally:
            timer.cancel()
            session.wire.notice(None)
            if waiter in self._idle:
                self._idle.remove(waiter)
            if not session.wire.quiet:
                session.broken = True

    def _hand_out(self, spoken_for: int = 0) -> None:
        """There is work: for those that rest, and for more sessions if these are too few."""
        room = self._room()
        if room <= 0 and (self._grow is not None or self._share.short):  # no fresh ones: any will do
            self._queue.extendleft(reversed(self._again))
            self._again.clear()
        waiting = len(self._again) + len(self._queue) - spoken_for
        if not self._closing:
            self._share.used(self._busy() - spoken_for)
        missing = waiting - self._wake(min(waiting, len(self._queue)))
        for _ in range(min(missing, room) - len(self._opening)):
            task = self._loop.create_task(self._live())
            self._opening.add(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _room(self) -> int:
        """How many may be opening now. The first goes alone: ten wrong logins at once lock accounts."""
        if self._closing or self._share.frozen:
            return 0
        most = min(self._ceiling, self._share.most)
        return min(1, most) if self._up == 0 else most - self._up

    def _surplus(self) -> int:
        """Sessions beyond the share that nobody has told to leave."""
        return self._up - len(self._leaving) - self._share.most

    def _busy(self) -> int:
        """Sessions that have work, and messages that wait for one."""
        return self._up - len(self._idle) + len(self._again) + len(self._queue)

    def _wake(self, wanted: int) -> int:
        """The session that rested last goes first, so that the surplus can go home."""
        woken = 0
        while self._idle and woken < wanted:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                woken += 1
        return woken

    async def _live(self) -> None:
        """One session from its opening to its end."""
        session = await self._opened()
        if session is None:
            return
        if _cancelled():
            session.wire.abort()
            return
        self._up += 1
        self._hand_out(spoken_for=1)
        session.pipelining &= self._ordered
        courier = Courier(session, self, max_messages=self._options.max_messages)
        try:
            await courier.run()
        finally:
            self._up -= 1
            self._ordered &= not session.disordered
            told = session in self._leaving
            self._leaving.discard(session)
            if _cancelled():
                pass  # the event loop ends, and would find a connection that was opened now
            elif courier.begun == 0 and session.wire.lost and not self._closing and not told:
                self._not_opened(BackendUnusable(self._options.name, "the server closed a fresh connection"))
            else:
                self._hand_out()

    async def _opened(self) -> Session | None:
        try:
            return await self._open_session()
        except BackendUnusable as error:
            failure = error
        finally:
            self._opening.discard(asyncio.current_task())
        self._not_opened(failure)
        return None

    def _not_opened(self, error: BackendUnusable) -> None:
        """Go on with the sessions there are, and try for more later; without any, nothing can be sent."""
        if self._up == 0 and not self._opening:
            self._give_up(error)
            return
        self._ceiling = max(1, self._up)
        if self._grow is None and not self._closing:
            self._grow = self._loop.call_later(self._grow_after, self._grow_now)
            self._grow_after = min(self._grow_after * 2, GROW_AFTER_MOST)
        self._hand_out()

    def _grow_now(self) -> None:
        self._grow = None
        self._ceiling = self._options.connections
        self._hand_out()

    def _give_up(self, error: BackendUnusable) -> None:
        jobs = [*self._again, *self._queue]
        self._again.clear()
        self._queue.clear()
        jobs.sort(key=lambda job: id(job.batch))
        for _, group in groupby(jobs, key=lambda job: id(job.batch)):
            unsent = list(group)
            unsent[0].batch.fail(error, unsent)


def _cancelled() -> bool:
    """Up to Python 3.11 ``wait_for``, in which sessions are opened, may swallow a cancellation."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _pop(queue: deque[Job]) -> Job | None:
    while queue:
        job = queue.popleft()
        if job.open:
            return job
    return None
