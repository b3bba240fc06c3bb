"""Delivers inside the process that takes messages: the workers' engine and pump, on a thread of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from mailer import forks, wiring
from mailer.delivery import epoch, loop
from mailer.delivery.contract import Hint
from mailer.delivery.dispatcher import Done, InProcess
from mailer.delivery.limits.shares import TRANSACTIONAL
from mailer.delivery.pump import Pump
from mailer.delivery.station import Station, StationConfig
from mailer.errors import LedgerError
from mailer.ledger import open_ledger
from mailer.ledger.contract import Runner, campaign_of
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit
from mailer.settings import Settings
from mailer.submission.threads import Threads

log = logging.getLogger(__name__)

#: A ledger that cannot be read is tried again after this.
LEDGER_REST = 1.0
#: People are told what there is to tell for so long at the end.
TELL_SECONDS = 3.0
#: What is over is cleaned up in less, unless the ledger hangs.
END_SECONDS = 10.0


class Background:
    """Starts once. What several processes hand over is delivered by each as it comes; one of them, elected,
    sees to what is deferred, scheduled, or left behind by another."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for backends that cannot be used."""
        self._config = StationConfig(
            ledger_url=settings.ledger_url,
            worker=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            backends=wiring.backend_configs(settings),
            rates=wiring.backend_rates(settings, serving=True),
            senders=wiring.sender_rates(settings, serving=True),
            limits_url=wiring.limits_url(settings),
            routes=wiring.routes(settings),
            lots=wiring.connection_lots(settings),
            stream=TRANSACTIONAL,
            safety=wiring.safety(settings),
            lease_seconds=settings.lease_seconds,
        )
        self._care = wiring.care(settings)
        self._thread = threading.Thread(target=self._run, name="mailer-background", daemon=True)
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seconds = 0.0

    def start(self) -> None:
        """Raises what opening the ledger and the backends raised."""
        self._thread.start()
        self._ready.result()

    def announce(self, ids: Sequence[int], stream: str) -> None:
        """Deliver these rows now; a hint, as everywhere."""
        with suppress(RuntimeError):  # the loop has ended: the rows are in the ledger
            self._ready.result().call_soon_threadsafe(self._hint, tuple(ids), stream)

    def close(self, seconds: float) -> None:
        """Finish what was announced, for so long at most."""
        self._seconds = seconds
        with suppress(RuntimeError):
            self._ready.result().call_soon_threadsafe(self._stop.set)
        self._thread.join(seconds + END_SECONDS)

    def _run(self) -> None:
        try:
            loop.run(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            log.critical("the mailer's background thread died; messages wait in the ledger", exc_info=error)

    # On the event loop.

    async def _serve(self) -> None:
        running = asyncio.get_running_loop()
        running.set_default_executor(Threads())
        self._stops_at_forks = forks.LoopThread(running)
        async with AsyncExitStack() as rooms:
            rooms.callback(self._stops_at_forks.end)
            ledger = open_ledger(self._config.ledger_url)
            rooms.callback(ledger.close)
            writer = GroupCommit(ledger)
            rooms.push_async_callback(writer.close)
            rooms.push_async_callback(writer.run, self._let_go)
            copy = epoch.epoch_copy(self._config.ledger_url, self._config.limits_url)
            await writer.run(lambda ledger: epoch.guard(ledger, copy, Runner.APPLICATION))
            station = Station(self._config, writer)
            rooms.push_async_callback(station.throttle.close)
            rooms.push_async_callback(station.connections.close)
            rooms.push_async_callback(station.engine.close)
            station.connections.start()
            rooms.push_async_callback(station.circuits.close)
            station.circuits.start()
            self._dispatcher = InProcess(station.engine, done=self._done)
            rooms.push_async_callback(self._dispatcher.close)
            self._pump = Pump(
                writer,
                self._dispatcher,
                runner=Runner.APPLICATION,
                worker=self._config.worker,
                throttle=station.throttle,
                rests=station.engine.resting,
                epoch_copy=copy,
                care=self._care,
            )
            rooms.push_async_callback(self._pump.close, TELL_SECONDS)
            self._ready.set_result(running)
            await self._pumping()
            await self._finish()

    async def _pumping(self) -> None:
        waking = asyncio.create_task(self._wake_at_the_end())
        while not self._stop.is_set():
            try:
                await self._pump.run(self._stop)
            except LedgerError as error:
                log.warning("ledger not available, again in %.0f s: %s", LEDGER_REST, error)
                await asyncio.sleep(LEDGER_REST)
        await waking

    async def _wake_at_the_end(self) -> None:
        await self._stop.wait()
        self._pump.wake()

    async def _finish(self) -> None:
        """What was announced goes out; then what is under way, and no more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                while self._tasks or self._dispatcher.running:
                    self._news.clear()
                    await self._news.wait()
        await self._dispatcher.drain(1.0)

    def _hint(self, ids: tuple[int, ...], stream: str) -> None:
        groups: dict[int, list[int]] = {}
        for id_ in ids:
            groups.setdefault(campaign_of(id_), []).append(id_)
        for own in groups.values():
            task = asyncio.get_running_loop().create_task(self._dispatcher.dispatch(Hint(tuple(own), stream)))
            self._tasks.add(task)
            task.add_done_callback(self._dispatched)

    def _dispatched(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._news.set()

    def _done(self, done: Done) -> None:
        if done.error is not None:
            # The rows are the ledger's: given back or unknown when their lease ends.
            log.error("a slice of campaign %d failed", campaign_of(done.hint.ids[0]), exc_info=done.error)
        self._pump.done(replace(done, error=None))
        self._news.set()

    def _let_go(self, ledger: Ledger) -> None:
        """What is still held is judged now, and another process may lead."""
        ledger.slices.take_back(self._config.worker)
        ledger.schedule.resign(self._pump.name, self._config.worker)
