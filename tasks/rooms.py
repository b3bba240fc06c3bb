"""What one worker process has: ledger, engine, pump and the way to the broker, built from the settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from mailer import wiring
from mailer.delivery import epoch
from mailer.delivery.counters import Counters
from mailer.delivery.hints import CeleryDispatcher
from mailer.delivery.limits.shares import BULK
from mailer.delivery.pump import Pump
from mailer.delivery.station import Station, StationConfig
from mailer.errors import BrokerUnavailable, LedgerError
from mailer.ledger import open_ledger
from mailer.ledger.contract import Runner
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit
from mailer.publisher import QUEUES, Publisher
from mailer.settings import Settings
from tasks.reports import Signature
from tasks.watch import Watch

#: What is being told to people may hold up the end of a worker for so long.
TELL_SECONDS = 3.0


class Rooms:
    """Entered on the event loop that is to use them; left, everything is closed in reverse.

    ``clean``: everything was answered. Otherwise what is under way is abandoned, and is given back or
    becomes unknown at once, not when its lease ends. ``told``: it ends because it was told to, so nobody need
    miss it. ``stream``: whose connections it may use.
    """

    def __init__(
        self, settings: Settings, worker: str, queues: Sequence[str] = QUEUES, stream: str = BULK
    ) -> None:
        self.clean = True
        self.told = False
        self.counters = Counters()
        self._settings = settings
        self._worker = worker
        self._stream = stream
        self._queues = queues
        self._open = AsyncExitStack()
        self._heeded = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Raises ConfigError and LedgerError."""
        async with self._open:
            ledger = open_ledger(self._settings.ledger_url)
            self._open.callback(ledger.close)
            writer = GroupCommit(ledger)
            self._open.push_async_callback(writer.close)
            self._open.push_async_callback(writer.run, self._leave)
            epoch_copy = wiring.epoch_copy(self._settings)
            await writer.run(lambda ledger: epoch.guard(ledger, epoch_copy, Runner.WORKERS))
            station = Station(self._config(), writer, self.counters)
            self.engine = station.engine
            self._open.push_async_callback(station.throttle.close)
            self._open.push_async_callback(station.connections.close)
            self._open.push_async_callback(self._let_go)
            station.connections.start()
            self._open.push_async_callback(station.circuits.close)
            station.circuits.start()
            self.signature = Signature(
                writer, _lasting(self._worker), self._worker, self._settings.files_root
            )
            dispatcher = self._dispatcher(ledger)
            self._open.push_async_callback(dispatcher.close)
            self.pump = Pump(
                writer,
                dispatcher,
                runner=Runner.WORKERS,
                worker=self._worker,
                throttle=station.throttle,
                rests=station.engine.resting,
                epoch_copy=epoch_copy,
                recipients_per_task=self._settings.recipients_per_task,
                care=wiring.care(self._settings),
            )
            dispatcher.done = self.pump.done
            self._open.push_async_callback(self.pump.close, TELL_SECONDS)
            self._open.push_async_callback(writer.run, self._resign)
            self._open = self._open.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def _let_go(self) -> None:
        await (self.engine.close() if self.clean else self.engine.abort())

    def _leave(self, ledger: Ledger) -> None:
        """The last thing that is written."""
        ledger.slices.abandon(self._worker)
        if self.told:
            self.signature.withdraw(ledger)

    def _resign(self, ledger: Ledger) -> None:
        """Another worker's pump leads at once."""
        ledger.schedule.resign(self.pump.name, self._worker)

    def heed(self) -> None:
        """The ledger was changed. Several that meet are one."""
        self._heeded.set()

    async def attend(self) -> None:
        """Look when told to, for as long as the process lives; a ledger that is away is looked at later."""
        while True:
            await self._heeded.wait()
            self._heeded.clear()
            with suppress(LedgerError):
                await self.engine.look()
            self.pump.heed()

    def _config(self) -> StationConfig:
        settings = wiring.with_test_modes(self._settings)
        return StationConfig(
            ledger_url=self._settings.ledger_url,
            worker=self._worker,
            backends=wiring.backend_configs(settings),
            rates=wiring.backend_rates(settings),
            senders=wiring.sender_rates(settings),
            limits_url=wiring.limits_url(settings),
            routes=wiring.routes(settings),
            lots=wiring.connection_lots(settings),
            stream=self._stream,
            safety=wiring.safety(self._settings),
            lease_seconds=self._settings.lease_seconds,
            files_root=str(self._settings.files_root) if self._files_are_shared() else None,
        )

    def _files_are_shared(self) -> bool:
        """Else attachments are read from where the campaign was opened."""
        return "files" in self._settings.model_fields_set

    def gauges(self) -> dict[str, float]:
        """What is true of this process right now."""
        now = time.time()
        resting = {name: self.engine.resting(name).until - now for name in self._settings.backends}
        return {
            "commit": self.signature.commit_seconds,
            "limit_hold": self.pump.held_back(),
            **{f"resting:{name}": max(0.0, left) for name, left in resting.items()},
        }

    def watch(self, taken: Callable[[], tuple[int, bool]]) -> Watch:
        """Over a connection of its own."""
        publisher = Publisher(self._settings.broker_url or "")
        self._open.callback(publisher.close)
        return Watch(publisher, self._queues, taken, self._settings.stalled_seconds)

    def _dispatcher(self, ledger: Ledger) -> CeleryDispatcher:
        publisher = Counted(self._settings.broker_url or "", self.counters)
        self._open.callback(publisher.close)

        async def waiting_for(ids: Sequence[int]) -> Mapping[int, float]:
            return await asyncio.to_thread(ledger.schedule.waiting_for, ids)

        return CeleryDispatcher(
            publisher, waiting_for, recipients_per_task=self._settings.recipients_per_task
        )


class Counted(Publisher):
    """Counts what it publishes, and what it could not."""

    def __init__(self, broker_url: str, counters: Counters) -> None:
        super().__init__(broker_url)
        self._counters = counters

    def publish(self, ids: Sequence[int], queue: str = "bulk") -> None:
        try:
            super().publish(ids, queue)
        except BrokerUnavailable:
            self._counters.add("publish_failures")
            raise
        self._counters.add("hints", "published")


def _lasting(worker: str) -> str:
    """The part of a worker's name that its successor has too."""
    return worker.partition(":")[0]
