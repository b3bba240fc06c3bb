"""One slice: claim, render, allow, send, settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from random import Random

from mailer.crash import point
from mailer.delivery.breaker import Circuit
from mailer.delivery.carrier import Carrier, Resting
from mailer.delivery.compositions import Composition, Compositions
from mailer.delivery.fleet import Fleet
from mailer.delivery.jobs import Delivered, Job
from mailer.delivery.keeper import Keeper
from mailer.delivery.limits.shares import TRANSACTIONAL
from mailer.delivery.observer import Observer, Silent
from mailer.delivery.safety import UNRESTRICTED, Safety
from mailer.delivery.sender import Sender
from mailer.delivery.throttle import Keys, Throttle
from mailer.delivery.verdicts import TOO_LATE, held, may_be_resent
from mailer.errors import ConfigError, InputError
from mailer.ledger.contract import Row, Settlement, campaign_of
from mailer.ledger.writer import GroupCommit
from mailer.message import State


class Engine:
    """Delivers hinted rows: in one process, on one event loop, any number of slices at once.

    A hint may be lost, doubled or late: only rows that the claim brings are touched. The engine owns the
    backends and closes them; the writer belongs to the caller.
    """

    def __init__(
        self,
        writer: GroupCommit,
        compositions: Compositions,
        fleet: Fleet,
        *,
        worker: str,
        throttle: Throttle | None = None,
        safety: Safety = UNRESTRICTED,
        lease_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._writer = writer
        self._compositions = compositions
        self._worker = worker
        self._throttle = throttle
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._observer = observer or Silent()
        self._fleet = fleet
        self._keeper = Keeper(writer, lease_seconds, fleet.heard)
        self._router = fleet.router
        self._sender = Sender(
            writer,
            self._keeper,
            safety=safety,
            throttle=throttle,
            clock=clock,
            rng=rng or Random(),
            observer=self._observer,
            router=self._router,
        )
        fleet.start(self._sender.carry)
        if throttle is not None:
            throttle.via = self._router.leading
        self._draining = False

    async def deliver(self, ids: Sequence[int]) -> Delivered:
        """Deliver these rows of one campaign, as far as they are due and nobody holds them.

        Returns when each claimed row is settled and durable. Raises LedgerError; and whatever a backend
        raised against its contract, whose rows are then left to the ledger's recovery.
        """
        if self._draining or not ids:
            return Delivered()
        composition = await self._composition(campaign_of(ids[0]))
        if composition is None:
            return Delivered()
        await self._look_for_paused()
        if await self._resting(composition):
            return Delivered()
        point("before_claim")
        claimed = await self._writer.claim(ids, self._worker, self._lease_seconds)
        point("after_claim")
        self._observer.hint(len(claimed.rows) + claimed.suppressed)
        if not claimed.rows:
            return Delivered(claimed.suppressed, claimed.suppressed)
        job = Job(claimed, composition, self._clock())
        if wanted := composition.contents(claimed.rows):
            job.contents = await self._writer.run(lambda ledger: ledger.blobs.several(wanted))
        await self._see_through(job)
        if job.last is not None:
            await asyncio.shield(job.last)  # commits keep the order, so all before it are durable too
        return Delivered(len(claimed.rows) + claimed.suppressed, job.spent + claimed.suppressed)

    def resting(self, backend: str) -> Resting:
        """Until when this backend is left alone, and why; of a route the backend that rests least."""
        return self._router.resting(backend)

    @property
    def batches(self) -> bool:
        """One of its backends, as far as they are open, takes many messages in one request."""
        return self._fleet.batches

    def circuits(self) -> Mapping[str, Circuit]:
        """Of each backend that is open in this process: whether it works, rests, or is being tested."""
        return self._fleet.circuits()

    async def look(self) -> None:
        """Hear now of what is paused, cancelled or changed, and give back what is not to be sent as it was
        claimed. It happens by itself within a second. Raises LedgerError."""
        await self._keeper.look()

    def drain(self) -> None:
        """Take no more, give back what has not been started; what is under way finishes."""
        self._draining = True
        self._keeper.halt()
        self._fleet.wake()

    async def close(self) -> None:
        """Close the backends. What is still under way then is for the ledger's recovery to judge."""
        self.drain()
        await self._fleet.close()
        await self._keeper.close()

    async def abort(self) -> None:
        """Stop at once, whatever is under way."""
        self._draining = True
        self._fleet.abort()
        await self._keeper.close()
        await self._fleet.begin_closing()

    async def _composition(self, campaign_id: int) -> Composition | None:
        """None when the campaign cannot be sent from here; it is paused then, and says why."""
        try:
            composition = await self._compositions.get(campaign_id)
            self._fleet.open(composition.backend)
        except (ConfigError, InputError) as error:
            await self._sender.pause(campaign_id, str(error))
            return None
        return composition

    async def _look_for_paused(self) -> None:
        """A person may pause a backend; that is looked for once a second."""
        if self._fleet.stale:
            self._fleet.heard(await self._writer.run(lambda ledger: ledger.backends.paused()))

    async def _resting(self, composition: Composition) -> bool:
        """A campaign that was given another backend must not wait for this one."""
        if self.resting(composition.backend).until <= self._clock():
            return False
        campaign_id = composition.campaign_id
        revision = await self._writer.run(lambda ledger: ledger.campaigns.revision(campaign_id))
        if revision != composition.revision:
            self._compositions.forget(campaign_id)
        return True

    async def _see_through(self, job: Job) -> None:
        self._keeper.add(job)
        try:
            if self._draining:
                job.halt()
            for backend, rows in self._admitted(job).items():
                await self._start(job, backend, rows)
            await job.done
        finally:
            self._keeper.remove(job)

    def _admitted(self, job: Job) -> Mapping[str, Sequence[Row]]:
        """The rows that may be sent, by backend; the others are settled."""
        rows = job.slice.rows
        if job.slice.revision != job.composition.revision:
            self._compositions.forget(job.slice.campaign_id)
            job.halt()
        elif late := _expired(job):
            for row in late:
                self._sender.settle(job, _over(job, row))
            if len(late) == len(rows):
                return {}
            rows = [row for row in rows if row not in late]
        backends = self._router.route(job.composition.backend).backends
        return {backends[0]: rows} if len(backends) == 1 else self._routed(job, rows)

    def _routed(self, job: Job, rows: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
        ways: dict[str, list[Row]] = {}
        probes: set[str] = set()
        for row in rows:
            way = self._router.choose(job.composition.backend, row, probes)
            if way.backend is None:
                self._sender.give_back(job, row, way.until + job.skew)
                continue
            if way.why:
                job.moved[row.id] = way.why
            ways.setdefault(way.backend, []).append(row)
        return ways

    async def _start(self, job: Job, backend: str, rows: Sequence[Row]) -> None:
        """Rows with other limits do not wait for each other: a take may last a moment."""
        if self._throttle is None or job.halted:
            await self._put(job, backend, rows)
            return
        await self._throttle.hear()
        groups = self._throttle.groups(backend, job.composition, rows)
        takes = [self._take(self._throttle, job, backend, keys, group) for keys, group in groups.items()]
        failed = [one for one in await asyncio.gather(*takes, return_exceptions=True) if one is not None]
        if failed:
            job.halt()
            raise failed[0]

    async def _take(
        self, throttle: Throttle, job: Job, backend: str, keys: Keys, rows: Sequence[Row]
    ) -> None:
        urgent = job.composition.stream == TRANSACTIONAL
        allowed, held, wait = await throttle.take(keys, rows, urgent=urgent)
        due = self._clock() + job.skew + wait
        for row in held:
            self._observer.waited(backend, wait)
            self._sender.give_back(job, row, due)
        await self._put(job, backend, allowed)

    async def _put(self, job: Job, backend: str, rows: Sequence[Row]) -> None:
        carrier = self._fleet[backend]
        carrier.put([(job, row) for row in self._sure(job, carrier, rows)])

    def _sure(self, job: Job, carrier: Carrier, rows: Sequence[Row]) -> Sequence[Row]:
        """Without those that may have been sent, and must not be sent again any more (I2)."""
        now = self._clock() + job.skew
        late = [row for row in rows if not may_be_resent(row, carrier.via, job.around, now)]
        for row in late:
            self._sender.settle(job, held(row, job.fence))
        return rows if not late else [row for row in rows if row not in late]


def _expired(job: Job) -> Sequence[Row]:
    """Those whose time has passed: all of a campaign, or of letters each by itself."""
    composition, now = job.composition, job.slice.now
    if composition.letters:
        return [row for row in job.slice.rows if (composition.expires(row) or inf) <= now]
    over = composition.expires_at is not None and composition.expires_at <= now
    return job.slice.rows if over else ()


def _over(job: Job, row: Row) -> Settlement:
    if row.unsure:
        return held(row, job.fence, TOO_LATE)
    return Settlement(row.id, job.fence, State.EXPIRED, spent=False)
