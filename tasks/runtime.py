"""One event loop per worker process, shared by all threads of the pool."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from mailer.delivery import loop
from mailer.errors import LedgerError
from mailer.publisher import QUEUES
from mailer.settings import Settings
from tasks.reports import Orphaned, Reporter
from tasks.rooms import Rooms
from tasks.watch import Stalled

log = logging.getLogger(__name__)

#: A ledger that cannot be read is tried again after this.
LEDGER_REST = 1.0
#: For what is on the wire when this worker has to end by itself.
LAST_SECONDS = 10.0

_WHY: dict[type[BaseException], str] = {
    Stalled: "hints wait and nothing is fetched: the connection to the broker is dead",
    Orphaned: "the supervisor has died",
}


class Runtime:
    """The engine on a thread of its own. ``start`` and ``stop`` once; ``deliver`` from any thread.

    ``on_death`` is called, on that thread, when it ends without having been told to.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        worker: str,
        on_death: Callable[[], None],
        queues: Sequence[str] = QUEUES,
        stream: str = "bulk",
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._queues = queues
        self._stream = stream
        self._on_death = on_death
        self._thread = threading.Thread(target=self._run, name="engine")
        self._ready: Future[None] = Future()
        self._lock = threading.Lock()
        self._open = False
        self._stop = asyncio.Event()
        self._abandon = asyncio.Event()
        self._patience = 0.0
        self._slices: set[asyncio.Task[None]] = set()
        self._taken = 0

    def start(self) -> None:
        """Returns when rows can be delivered. Raises what opening the ledger and the backends raised."""
        self._thread.start()
        self._ready.result()

    def deliver(self, ids: Sequence[int]) -> None:
        """Returns when the rows that could be claimed are settled, or were abandoned by ``stop``. Claims
        nothing any more then."""
        with self._lock:
            self._taken += 1
            if not self._open:
                return
            under_way = asyncio.run_coroutine_threadsafe(self._deliver(ids), self._loop)
        with suppress(CancelledError):
            under_way.result()

    def heed(self) -> None:
        """The ledger was changed: look at it now. From any thread; waits for nothing."""
        with self._lock, suppress(RuntimeError):  # the loop of an engine that has just died
            if self._open:
                self._loop.call_soon_threadsafe(self._rooms.heed)

    def stop(self, seconds: float) -> None:
        """Let what is on the wire finish for up to ``seconds``, give back the rest, close everything."""
        with self._lock:
            self._open, was_open = False, self._open
        if was_open:
            self._patience = seconds
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def abandon(self) -> None:
        """Wait no longer: what is on the wire becomes unknown. For signal handlers: takes no lock."""
        if self._ready.done() and not self._ready.exception():
            self._loop.call_soon_threadsafe(self._abandon.set)

    def _run(self) -> None:
        try:
            loop.run(self._serve())
        except BaseException as error:
            self._open = False
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            # A worker without an engine would take hints and do nothing.
            why = _WHY.get(type(error), "the engine died")
            log.critical("%s, and this worker ends", why, exc_info=error if type(error) not in _WHY else None)
            self._on_death()

    # On the event loop.

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with Rooms(self._settings, self._worker, self._queues, self._stream) as rooms:
            self._rooms = rooms
            self._open = True
            self._ready.set_result(None)
            attending = asyncio.create_task(self._attend(rooms))
            await self._pump(rooms)
            rooms.engine.drain()
            rooms.clean = await self._answered()
            attending.cancel()
            await asyncio.wait([attending])
            rooms.told = attending.cancelled()
        if not attending.cancelled() and (error := attending.exception()):
            raise error

    async def _answered(self) -> bool:
        """Whether everything on the wire was, in time."""
        waiting: set[asyncio.Task[Any]] = set(self._slices)
        abandoned: asyncio.Task[Any] = asyncio.create_task(self._abandon.wait())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while waiting and not abandoned.done():
                    done, _ = await asyncio.wait({abandoned, *waiting}, return_when=asyncio.FIRST_COMPLETED)
                    waiting -= done
        abandoned.cancel()
        return not waiting

    async def _attend(self, rooms: Rooms) -> None:
        """Report, sign, watch. Whatever ends one of these ends this worker."""
        reporter = Reporter(rooms.counters, self._gauges)
        watch = rooms.watch(lambda: (self._taken, bool(self._slices)))
        try:
            await asyncio.gather(reporter.run(), rooms.signature.run(), watch.run(), rooms.attend())
        except Exception:
            self._patience = LAST_SECONDS
            self._stop.set()
            raise

    def _gauges(self) -> dict[str, float]:
        return {"hints_in_flight": len(self._slices), **self._rooms.gauges()}

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
