"""The event loop we run on: uvloop where there is one."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on the fastest loop at hand."""
    try:
        from uvloop import new_event_loop
    except ImportError:  # not on Windows, not on PyPy
        return asyncio.run(main)
    _survive_forks()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


_survives = False


def _survive_forks() -> None:
    global _survives  # noqa: PLW0603 - Python forgets none that was registered
    if not _survives:
        _survives = True
        os.register_at_fork(after_in_child=_at_the_end_of_a_child)


def _at_the_end_of_a_child() -> None:
    atexit.unregister(_start_threads_of_libuv)  # it may be a child's child
    atexit.register(_start_threads_of_libuv)


def _start_threads_of_libuv() -> None:
    """Where a process ends, libuv waits for its threads (``uv__threadpool_cleanup``). In a child they are
    those of its parent, and it dies of SIGSEGV, unless it has used some itself. Looking up a name does."""
    from uvloop import new_event_loop

    loop = new_event_loop()
    with suppress(OSError):  # whether there is one
        loop.run_until_complete(loop.getaddrinfo("localhost", None))
    loop.close()
