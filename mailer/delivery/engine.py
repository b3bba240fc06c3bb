"""One slice: claim, render, allow, send, settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random

from mailer.backends.contract import Backend
from mailer.crash import point
from mailer.delivery.carrier import Carrier, Resting
from mailer.delivery.compositions import Composition, Compositions
from mailer.delivery.jobs import Delivered, Job
from mailer.delivery.keeper import Keeper
from mailer.delivery.observer import Observer, Silent
from mailer.delivery.safety import UNRESTRICTED, Safety
from mailer.delivery.sender import Sender
from mailer.delivery.throttle import Throttle
from mailer.errors import ConfigError, InputError
from mailer.ledger.contract import Row, Settlement, campaign_of
from mailer.ledger.writer import GroupCommit
from mailer.message import State


def not_set_up(name: str) -> Backend:
    """For engines that have only the backends they were given."""
    raise ConfigError(f"the campaign wants backend {name!r}, which is not set up")


class Engine:
    """Delivers hinted rows: in one process, on one event loop, any number of slices at once.

    A hint may be lost, doubled or late: only rows that the claim brings are touched. The engine owns the
    backends and closes them; the writer belongs to the caller.
    """

    def __init__(
        self,
        writer: GroupCommit,
        compositions: Compositions,
        backends: Mapping[str, Backend],
        *,
        worker: str,
        throttle: Throttle | None = None,
        safety: Safety = UNRESTRICTED,
        lease_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        connect: Callable[[str], Backend] = not_set_up,
        observer: Observer | None = None,
    ) -> None:
        """``connect`` makes a backend that a campaign names and ``backends`` lacks, or raises ConfigError."""
        self._connect = connect
        self._writer = writer
        self._compositions = compositions
        self._worker = worker
        self._throttle = throttle
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._observer = observer or Silent()
        self._keeper = Keeper(writer, lease_seconds)
        self._sender = Sender(
            writer,
            self._keeper,
            safety=safety,
            throttle=throttle,
            clock=clock,
            rng=rng or Random(),
            observer=self._observer,
        )
        self._carriers = {
            name: Carrier(name, backend, self._sender.carry) for name, backend in backends.items()
        }
        self._draining = False

    async def deliver(self, ids: Sequence[int]) -> Delivered:
        """Deliver these rows of one campaign, as far as they are due and nobody holds them.

        Returns when each claimed row is settled and durable. Raises LedgerError; and whatever a backend
        raised against its contract, whose rows are then left to the ledger's recovery.
        """
        if self._draining or not ids:
            return Delivered()
        composition = await self._composition(campaign_of(ids[0]))
        if composition is None or self.resting(composition.backend).until > self._clock():
            return Delivered()
        point("before_claim")
        claimed = await self._writer.claim(ids, self._worker, self._lease_seconds)
        point("after_claim")
        self._observer.hint(len(claimed.rows) + claimed.suppressed)
        if not claimed.rows:
            return Delivered(claimed.suppressed, claimed.suppressed)
        job = Job(claimed, composition, self._clock())
        await self._see_through(job)
        if job.last is not None:
            await job.last  # commits keep the order, so all before it are durable too
        return Delivered(len(claimed.rows) + claimed.suppressed, job.spent + claimed.suppressed)

    def resting(self, backend: str) -> Resting:
        """Until when this backend is left alone, and why."""
        carrier = self._carriers.get(backend)
        return Resting() if carrier is None else Resting(carrier.rest.until, carrier.rest.reason)

    def drain(self) -> None:
        """Take no more, give back what has not been started; what is under way finishes."""
        self._draining = True
        self._keeper.halt()

    async def close(self) -> None:
        """Close the backends. What is still under way then is for the ledger's recovery to judge."""
        self.drain()
        await asyncio.gather(*(carrier.close() for carrier in self._carriers.values()))
        await self._keeper.close()

    async def abort(self) -> None:
        """Stop at once, whatever is under way."""
        self._draining = True
        for carrier in self._carriers.values():
            carrier.abort()
        await self._keeper.close()

    async def _composition(self, campaign_id: int) -> Composition | None:
        """None when the campaign cannot be sent from here; it is paused then, and says why."""
        try:
            composition = await self._compositions.get(campaign_id)
            if composition.backend not in self._carriers:
                backend = self._connect(composition.backend)
                self._carriers[composition.backend] = Carrier(
                    composition.backend, backend, self._sender.carry
                )
        except (ConfigError, InputError) as error:
            await self._sender.pause(campaign_id, str(error))
            return None
        return composition

    async def _see_through(self, job: Job) -> None:
        self._keeper.add(job)
        try:
            if self._draining:
                job.halt()
            rows = await self._admitted(job)
            self._carriers[job.composition.backend].put([(job, row) for row in rows])
            await job.done
        finally:
            self._keeper.remove(job)

    async def _admitted(self, job: Job) -> Sequence[Row]:
        """The rows that may be sent now; the others are settled."""
        rows = job.slice.rows
        if rows[0].version != job.composition.version:
            self._compositions.forget(job.slice.campaign_id)
            job.halt()
        elif _expired(job.composition, job.slice.now):
            for row in rows:
                self._sender.settle(job, Settlement(row.id, job.fence, State.EXPIRED, spent=False))
            return ()
        elif self._throttle is not None:
            return await self._allowed(job, self._throttle)
        return rows

    async def _allowed(self, job: Job, throttle: Throttle) -> Sequence[Row]:
        allowed, held = await throttle.allow(job.composition, job.slice.rows)
        now = self._clock() + job.skew
        for row, wait in held:
            self._observer.waited(job.composition.backend, wait)
            self._sender.give_back(job, row, now + wait)
        return allowed


def _expired(composition: Composition, now: float) -> bool:
    return composition.expires_at is not None and now >= composition.expires_at
