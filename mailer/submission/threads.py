"""Threads for what blocks the event loop, which an interpreter that ends leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

from mailer import forks

P = ParamSpec("P")
T = TypeVar("T")

#: At the same time.
MOST = 32


class Threads(ThreadPoolExecutor):
    """No fork while one is at work. They are started when they are needed, and are daemons: the standard
    library's take nothing more once the main thread has ended, although others go on sending, and so does
    what runs at exit. Submitted to from one thread; asyncio takes no executor that is not of this class."""

    def __init__(self) -> None:
        super().__init__(MOST)
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._free = Semaphore(0)
        self._started: list[Thread] = []

    def submit(self, work: Callable[P, T], /, *args: P.args, **keywords: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, partial(work, *args, **keywords)))
        if not self._free.acquire(blocking=False) and len(self._started) < MOST:
            thread = Thread(target=self._work, name="mailer-background-helper", daemon=True)
            self._started.append(thread)
            thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """After what was submitted; asyncio cancels nothing."""
        for _ in self._started:
            self._calls.put(None)
        for thread in self._started if wait else ():
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, work = call
            if future.set_running_or_notify_cancel():
                _done(future, work)
            del call, future, work  # not kept until the next comes
            self._free.release()


def _done(future: Future[T], work: Callable[[], T]) -> None:
    try:
        with forks.helpers.inside():
            result = work()
    except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
        future.set_exception(error)
    else:
        future.set_result(result)
