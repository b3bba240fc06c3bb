"""Runs one campaign to its end in this process: what ``mailer send`` and ``mailer resume`` do."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress

from mailer.backends.contract import BackendConfig
from mailer.delivery import epoch
from mailer.delivery.crew import Crew, Solo, Team
from mailer.delivery.dispatcher import Done
from mailer.delivery.epoch import epoch_copy
from mailer.delivery.limits.plan import BackendRates, SenderRates
from mailer.delivery.lock import run_lock
from mailer.delivery.orders import ENDED, LIMIT_REACHED, Orders, Reason, RunResult
from mailer.delivery.oversight import Care
from mailer.delivery.progress import Pace
from mailer.delivery.pump import Allowance, Pump
from mailer.delivery.routes import Route
from mailer.delivery.safety import UNRESTRICTED, Safety
from mailer.delivery.station import PLAIN_LOGS, StationConfig
from mailer.delivery.stop import Stop
from mailer.errors import LedgerError, StateConflict
from mailer.ledger import open_ledger
from mailer.ledger.contract import Counts, Runner
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit

#: How long what is in flight may take after the first Ctrl-C.
DRAIN_SECONDS = 30.0
#: How often progress is reported.
PROGRESS_SECONDS = 0.25


async def run_embedded(
    ledger_url: str,
    campaign_id: int,
    *,
    backends: Mapping[str, BackendConfig],
    rates: Mapping[str, BackendRates] | None = None,
    senders: Mapping[str, SenderRates] | None = None,
    routes: Mapping[str, Route] | None = None,
    processes: int = 1,
    safety: Safety = UNRESTRICTED,
    limit: int | None = None,
    wait: float | None = None,
    on_progress: Callable[[Counts, float], None] | None = None,
    stop: Stop | None = None,
    lease_seconds: float = 60.0,
    recipients_per_task: int = 200,
    accept_epoch: bool = False,
    care: Care | None = None,
    logs: tuple[str, str] = PLAIN_LOGS,
) -> RunResult:
    """Run a RUNNING or SCHEDULED campaign of this ledger until nothing is left to do, here and now.

    What ``rates`` lacks is the backend's own. ``Orders`` say when it ends. Without ``stop``, signals do too.
    Raises StateConflict when another process or the workers run the campaign, or the ledger was restored
    from a backup (``accept_epoch`` says a person has looked); LedgerError; ConfigError.
    """
    config = StationConfig(
        ledger_url=ledger_url,
        worker=f"{socket.gethostname()}:{os.getpid()}:{campaign_id}",
        backends=backends,
        rates=rates or {},
        senders=senders or {},
        routes=routes or {},
        safety=safety,
        lease_seconds=lease_seconds,
        logs=logs,
    )
    async with _ledger(ledger_url) as writer, _listening(stop) as told:
        orders = Orders(campaign_id, limit, wait, on_progress, told, recipients_per_task, care or Care())
        return await _Run(config, orders, writer, processes).through(accept_epoch=accept_epoch)


class _Run:
    """One run: take over, pump, watch, let go."""

    def __init__(self, config: StationConfig, orders: Orders, writer: GroupCommit, processes: int) -> None:
        self._config = config
        self._orders = orders
        self._writer = writer
        self._epoch = epoch_copy(config.ledger_url)
        self._allowance = None if orders.limit is None else Allowance(orders.limit)
        self._crew: Crew = (
            Solo(config, writer, self._done)
            if processes <= 1
            else Team(config, writer, self._done, processes=processes)
        )
        self._pump = Pump(
            writer,
            self._crew.dispatcher,
            runner=Runner.EMBEDDED,
            worker=config.worker,
            throttle=self._crew.throttle,
            epoch_copy=self._epoch,
            only=orders.campaign_id,
            allowance=self._allowance,
            rests=self._crew.resting,
            recipients_per_task=orders.recipients_per_task,
            care=orders.care,
        )
        self._pace = Pace()
        #: Whoever finds these in the lock file after our death may end what they hold.
        self._names = tuple({config.worker, *self._crew.workers})

    async def through(self, *, accept_epoch: bool) -> RunResult:
        began = time.monotonic()
        id_, names = self._orders.campaign_id, self._names
        with ExitStack() as held:
            former = await self._writer.run(lambda ledger: held.enter_context(run_lock(ledger, id_, names)))
            await self._writer.run(lambda ledger: self._take_over(ledger, former, accept_epoch=accept_epoch))
            await self._crew.start()
            try:
                reason = await self._watch()
            finally:
                await self._let_go()
            await self._pump.close()
            return await self._writer.run(lambda ledger: self._result(ledger, reason, began))

    def _done(self, done: Done) -> None:
        self._pump.done(done)

    def _take_over(self, ledger: Ledger, former: tuple[str, ...], *, accept_epoch: bool) -> None:
        """What the last owner held is free at once; it is dead, or we would not have its lock."""
        if ledger.campaigns.by_id(self._orders.campaign_id).runner is not Runner.EMBEDDED:
            raise StateConflict("the workers run this campaign; `mailer status` shows how far they are")
        ledger.slices.take_back(*former)
        for worker in former:
            ledger.schedule.resign(self._pump.name, worker)
        if accept_epoch:
            epoch.accept(ledger, self._epoch)
        elif epoch.is_restored(ledger, self._epoch):
            raise StateConflict(epoch.RESTORED)

    async def _watch(self) -> Reason:
        stop = self._orders.stop
        end = asyncio.Event()
        pumping = asyncio.create_task(self._pump.run(end))
        stopping = asyncio.create_task(stop.wait())
        try:
            while True:
                await self._news(pumping, stopping)
                if pumping.done():
                    pumping.result()  # raises what ended it
                await self._report()
                reason = Reason.INTERRUPTED if stop.is_set() else await self._reason()
                if reason is not None:
                    return reason
        finally:
            stopping.cancel()
            end.set()
            self._pump.wake()
            await asyncio.gather(pumping, stopping, return_exceptions=True)

    async def _news(self, *tasks: asyncio.Task[None]) -> None:
        """Until something happens, or it is time to report."""
        changed = asyncio.create_task(self._pump.changed.wait())
        await asyncio.wait((changed, *tasks), timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        self._pump.changed.clear()

    async def _report(self) -> None:
        if self._orders.on_progress is not None:
            counts = await self._writer.run(lambda ledger: ledger.campaigns.counts(self._orders.campaign_id))
            self._orders.on_progress(counts, self._pace.per_second(counts, time.monotonic()))

    async def _reason(self) -> Reason | None:
        """Why the run is over; None when it is not."""
        if self._crew.dispatcher.outstanding():
            return None
        campaign_id = self._orders.campaign_id
        state = await self._writer.run(lambda ledger: ledger.campaigns.by_id(campaign_id).state)
        if state in ENDED:
            return ENDED[state]
        if self._allowance is not None and self._allowance.left <= 0:
            return await self._writer.run(self._limit_reached)
        due, wait = self._pump.idle_until(), self._orders.wait
        if due is not None and wait is not None and due - self._pump.last_try > wait:
            return Reason.WAITING
        return None

    def _limit_reached(self, ledger: Ledger) -> Reason:
        """The last row of all may have been among those asked for."""
        if ledger.schedule.finish(self._orders.campaign_id):
            return Reason.FINISHED
        ledger.campaigns.pause(self._orders.campaign_id, LIMIT_REACHED, by_person=True)
        return Reason.LIMIT

    async def _let_go(self) -> None:
        """Give back what has not been started, finish what is under way, or abandon it when told twice."""
        draining = asyncio.create_task(self._crew.dispatcher.drain(DRAIN_SECONDS))
        abandoned = asyncio.create_task(self._orders.stop.abandoned.wait())
        await asyncio.wait((draining, abandoned), return_when=asyncio.FIRST_COMPLETED)
        clean = draining.done() and draining.result()
        for task in (draining, abandoned):
            task.cancel()
        await self._crew.close(clean=clean)
        with suppress(LedgerError):  # a ledger that fails has said so already
            await self._writer.run(self._release)

    def _release(self, ledger: Ledger) -> None:
        ledger.slices.take_back(*self._crew.workers)
        ledger.schedule.resign(self._pump.name, self._config.worker)

    def _result(self, ledger: Ledger, reason: Reason, began: float) -> RunResult:
        campaign = ledger.campaigns.by_id(self._orders.campaign_id)
        resting = self._crew.resting(campaign.backend)
        return RunResult(
            reason,
            ledger.campaigns.counts(campaign.id),
            detail=campaign.reason or (resting.reason if resting.until > time.time() else None),
            next_due=ledger.schedule.next_due(campaign.id),
            seconds=time.monotonic() - began,
        )


@asynccontextmanager
async def _listening(stop: Stop | None) -> AsyncIterator[Stop]:
    """The first Ctrl-C or SIGTERM gives back what has not been started and waits up to 30 s for the rest,
    the second ends at once."""
    if stop is not None:
        yield stop
        return
    own = Stop()
    with own.on_signals():
        yield own


@asynccontextmanager
async def _ledger(url: str) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit(open_ledger(url))
    try:
        yield writer
    finally:
        await writer.close()
