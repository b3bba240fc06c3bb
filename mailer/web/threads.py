"""Where blocking work is done: the ledger is synchronous, and requests come on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: What several hand over at the same time shares one commit; more threads only take turns.
MOST = 16


class Threads:
    """Cheaper per call than the framework's own, and apart from it: a slow download cannot take these."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MOST, "mailer-web")

    async def run(self, work: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(work, *args, **keywords))

    def close(self) -> None:
        """After what is being done."""
        self._pool.shutdown()
