"""How a run is told to stop: once to end in good order, twice to end at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Like an Event, but the second ``set`` means more: abandon what is under way.

    Belongs to the event loop it is first waited in; ``set`` is for that loop only (signal handlers that
    the loop calls included).
    """

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.abandoned = asyncio.Event()

    def set(self) -> None:
        (self.abandoned if self.draining.is_set() else self.draining).set()

    def is_set(self) -> bool:
        return self.draining.is_set()

    async def wait(self) -> None:
        await self.draining.wait()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a terminal that is closed call ``set`` meanwhile. Main thread only."""
        loop = asyncio.get_running_loop()
        signals = endings()
        for number in signals:
            loop.add_signal_handler(number, self.set)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def endings() -> tuple[signal.Signals, ...]:
    """The signals that ask a command to end; after ``nohup`` a closed terminal does not."""
    asked = (signal.SIGINT, signal.SIGTERM)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return asked if ignored else (*asked, signal.SIGHUP)
