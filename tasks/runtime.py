"""One event loop per worker process, shared by all threads of the pool."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress

from mailer.delivery import loop
from mailer.errors import LedgerError
from mailer.settings import Settings
from tasks.rooms import Rooms

log = logging.getLogger(__name__)

#: A ledger that cannot be read is tried again after this.
LEDGER_REST = 1.0


class Runtime:
    """The engine on a thread of its own. ``start`` and ``stop`` once; ``deliver`` from any thread.

    ``on_death`` is called, on that thread, when it ends without having been told to.
    """

    def __init__(
        self, settings: Settings, *, worker: str, on_death: Callable[[], None], stream: str = "bulk"
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._stream = stream
        self._on_death = on_death
        self._thread = threading.Thread(target=self._run, name="engine")
        self._ready: Future[None] = Future()
        self._lock = threading.Lock()
        self._open = False
        self._stop = asyncio.Event()
        self._patience = 0.0
        self._slices: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Returns when rows can be delivered. Raises what opening the ledger and the backends raised."""
        self._thread.start()
        self._ready.result()

    def deliver(self, ids: Sequence[int]) -> None:
        """Returns when the rows that could be claimed are settled, or were abandoned by ``stop``. Claims
        nothing any more then."""
        with self._lock:
            if not self._open:
                return
            under_way = asyncio.run_coroutine_threadsafe(self._deliver(ids), self._loop)
        with suppress(CancelledError):
            under_way.result()

    def stop(self, seconds: float) -> None:
        """Let what is on the wire finish for up to ``seconds``, give back the rest, close everything."""
        with self._lock:
            self._open, was_open = False, self._open
        if was_open:
            self._patience = seconds
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            loop.run(self._serve())
        except BaseException as error:
            self._open = False
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            # A worker without an engine would take hints and do nothing.
            log.critical("the engine died, and this worker ends with it", exc_info=error)
            self._on_death()

    # On the event loop.

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with Rooms(self._settings, self._worker, self._stream) as rooms:
            self._rooms = rooms
            self._open = True
            self._ready.set_result(None)
            await self._pump(rooms)
            rooms.engine.drain()
            if self._slices:
                _, late = await asyncio.wait(self._slices, timeout=self._patience)
                rooms.clean = not late

    async def _pump(self, rooms: Rooms) -> None:
        while not self._stop.is_set():
            try:
                await rooms.pump.run(self._stop)
            except LedgerError as error:
                log.warning("ledger not available, again in %.0f s: %s", LEDGER_REST, error)
                await asyncio.sleep(LEDGER_REST)

    async def _deliver(self, ids: Sequence[int]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        self._slices.add(task)
        try:
            await self._rooms.engine.deliver(ids)
        finally:
            self._slices.discard(task)
