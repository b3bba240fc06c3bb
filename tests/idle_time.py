"""Time limits without waiting, and without luck: a loop whose time passes only while nobody has work.

A server in the test's own loop says nothing, and the client's limit of 300 ms is what the test is about. By
the clock on the wall it also decides other tests: a process that stands still for 300 ms at the wrong moment
has missed an answer that was there. Here a limit runs out when everybody waits for it, and then at once.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

#: What was written on the loopback interface may take a moment in the kernel, an acknowledgement up to 40 ms.
SETTLED = 0.1


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for long it says how long it would have waited."""

    passed = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.threads:
            return super().select(timeout if timeout is None else min(timeout, SETTLED))
        ready = super().select(min(timeout, SETTLED))
        if not ready:
            self.passed += timeout
        return ready


class IdleTime(asyncio.SelectorEventLoop):
    """For servers and clients in one process: of a third party it would not know that it has work."""

    def __init__(self) -> None:
        self._idle = _Selector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.passed

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        self._idle.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._idle.threads -= 1


def in_idle_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run this test on a loop of its own in which time passes only while it is idle."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        with asyncio.Runner(loop_factory=IdleTime) as runner:
            runner.run(test(*arguments, **keywords))

    return run
