"""Some rows at a time: render, send, and tell the ledger what became of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from random import Random

from mailer.crash import armed, point
from mailer.delivery import verdicts
from mailer.delivery.carrier import Carrier
from mailer.delivery.jobs import Item, Job
from mailer.delivery.keeper import Keeper
from mailer.delivery.marks import Marks
from mailer.delivery.observer import Observer
from mailer.delivery.routes import Router
from mailer.delivery.safety import Safety
from mailer.delivery.throttle import Throttle
from mailer.errors import BackendUnusable, ContentError, StateConflict
from mailer.ledger.contract import Row, Settlement
from mailer.ledger.writer import GroupCommit
from mailer.message import Blocked, Deferred, Fenced, Outcome, Outgoing, Phase, Reply

log = logging.getLogger(__name__)

#: Messages rendered before the event loop gets a turn: about 3 ms, so that no session starves.
BITE = 20

#: A row, its slice and its message, between rendering and its outcome.
Ready = tuple[Job, Row, Outgoing]


class Sender:
    """What the workers of all carriers do. Each row is settled as soon as its own outcome is known (I4)."""

    def __init__(
        self,
        writer: GroupCommit,
        keeper: Keeper,
        *,
        safety: Safety,
        throttle: Throttle | None,
        clock: Callable[[], float],
        rng: Random,
        observer: Observer,
        router: Router,
    ) -> None:
        self._writer = writer
        self._keeper = keeper
        self._safety = safety
        self._throttle = throttle
        self._clock = clock
        self._rng = rng
        self._observer = observer
        self._router = router
        self._mark = Marks(writer)

    async def carry(self, carrier: Carrier, items: Sequence[Item]) -> None:
        """See these rows through. What nobody foresaw fails their slices, and is raised by ``deliver``."""
        try:
            ready = await self._render(carrier, items)
            if ready:
                await self._send(carrier, ready)
        except Exception as error:  # noqa: BLE001 - whoever waits for these slices must hear of it
            for job, _ in items:
                job.fail(error)

    def settle(self, job: Job, settlement: Settlement) -> None:
        self._write(job, settlement)
        job.finished(spent=settlement.spent)

    def give_back(self, job: Job, row: Row, due_at: float | None = None) -> None:
        """Unsent, nothing spent; without ``due_at`` due at once."""
        self.settle(job, verdicts.given_back(row, job.fence, due_at))

    async def pause(self, campaign_id: int, reason: str) -> None:
        """The sender's fault: nothing more of this campaign until a person has seen to it (I10)."""
        running = [job for job in self._keeper.jobs(campaign_id) if not job.halted]
        for job in running:
            job.halt()
        if running:  # said once, not by every connection; the reason may quote an address
            log.warning("campaign %d: paused by the engine", campaign_id)
        with suppress(StateConflict):  # somebody was quicker
            await self._writer.run(lambda ledger: ledger.campaigns.pause(campaign_id, reason))

    def _write(self, job: Job, settlement: Settlement) -> None:
        point("before_settle")
        if job.composition.sensitive:
            settlement.cells = job.remains(settlement.id)
        job.last = self._writer.settle_soon(settlement)
        self._observer.settled(settlement.state, settlement.backend or job.composition.backend)

    # From row to message.

    async def _render(self, carrier: Carrier, items: Sequence[Item]) -> list[Ready]:
        ready = []
        for number, (job, row) in enumerate(items, 1):
            message = self._message(carrier, job, row)
            if message is not None:
                ready.append((job, row, message))
            if number % BITE == 0 or not ready:
                await asyncio.sleep(0)
        return ready

    def _message(self, carrier: Carrier, job: Job, row: Row) -> Outgoing | None:
        """The rendered message; None when the row is settled without being sent."""
        if job.halted:
            self.give_back(job, row)
            return None
        rest = carrier.resting(self._clock())
        if rest.until:
            self.give_back(job, row, self._again(job, row, carrier, rest.until))
            return None
        point("before_render")
        try:
            message = job.composition.compose(row, job.fence, job.contents)
        except ContentError as error:
            self.settle(job, verdicts.failed(row, job.fence, error.message, Phase.RENDER))
            return None
        point("after_render")
        return self._guarded(job, row, message)

    def _guarded(self, job: Job, row: Row, message: Outgoing) -> Outgoing | None:
        envelope = self._safety.envelope(message.recipients)
        if envelope is None:
            self.settle(job, verdicts.failed(row, job.fence, "not in [safety] allow_recipients"))
            return None
        message.recipients = envelope
        return message

    # From message to settlement.

    async def _send(self, carrier: Carrier, ready: Sequence[Ready]) -> None:
        try:
            outcomes = await carrier.backend.send([message for _, _, message in ready], self._mark)
        except BackendUnusable as error:
            await self._unusable(carrier, ready, error)
            return
        troubles = []
        for (job, row, _), outcome in zip(ready, outcomes, strict=True):
            if self._decide(carrier, job, row, outcome):
                troubles.append((job, row, outcome))
        for job, row, outcome in troubles:
            await self._trouble(carrier, job, row, outcome)
        if armed("after_settle"):
            await self._writer.run(lambda _: None)  # behind the settlements, so they are durable now
            point("after_settle")

    def _decide(self, carrier: Carrier, job: Job, row: Row, outcome: Outcome) -> bool:
        """Settle what can be settled at once. True: this outcome concerns more than its row."""
        if isinstance(outcome, Blocked):
            return True
        if isinstance(outcome, Fenced):
            # Paused, or the lease is lost: then somebody else may hold these rows, and this does not count.
            job.halt()
            self.give_back(job, row)
            return False
        now = self._clock()
        if not carrier.breaker.closed and verdicts.shows_life(outcome):
            carrier.breaker.worked(now)
        if (
            not row.unsure
            and verdicts.is_unsubmitted(outcome)
            and self._moved(carrier, job, row, outcome.reply)
        ):
            return False
        said = verdicts.verdict(row, outcome, carrier.via, job.around, now=now + job.skew, rng=self._rng)
        if why := job.moved.get(row.id):
            said.reason = f"{why} {said.reason}" if said.reason else why
        self._router.forget(row.id)
        self.settle(job, said)
        return isinstance(outcome, Deferred) and (outcome.slow_down or verdicts.is_shut(outcome))

    # What concerns more than one row.

    async def _trouble(self, carrier: Carrier, job: Job, row: Row, outcome: Outcome) -> None:
        if isinstance(outcome, Blocked):
            reason = _words(outcome.reply)
            stops = self._stops(carrier, {job})
            self._rest(carrier, reason, lasting=not stops)
            # Written first, or this row would still be SENDING when its connection marks the next.
            self._write(job, verdicts.given_back(row, job.fence, None))
            if stops:
                await self._stop(job, f"backend {carrier.name!r}: {reason}")
            job.finished(spent=False)
        elif isinstance(outcome, Deferred) and verdicts.is_shut(outcome):
            self._rest(carrier, _words(outcome.reply))
        elif isinstance(outcome, Deferred) and self._throttle is not None:
            await self._throttle.slow_down(carrier.name, row.lane, outcome.retry_after)

    async def _unusable(self, carrier: Carrier, ready: Sequence[Ready], error: BackendUnusable) -> None:
        jobs = {job for job, _, _ in ready}
        stops = self._stops(carrier, jobs) if error.lasting else []
        if carrier.resting(self._clock()).until == 0.0:
            log.warning("%s", error)
        until = self._rest(carrier, error.reason, lasting=error.lasting and not stops)
        for job in stops:
            await self._stop(job, str(error))
        for job, row, _ in ready:
            self.give_back(job, row, None if error.lasting else self._again(job, row, carrier, until))

    def _stops(self, carrier: Carrier, jobs: Collection[Job]) -> list[Job]:
        """One of each campaign that has no other backend: a person has to mend this one."""
        campaigns = {job.slice.campaign_id: job for job in jobs}.values()
        return [job for job in campaigns if not self._router.is_left(job.composition.backend, carrier.name)]

    async def _stop(self, job: Job, reason: str) -> None:
        name = job.composition.backend
        if len(self._router.route(name).backends) > 1:
            reason = f"route {name!r}: {self._router.reasons(name)}"
            self._router.forgive(name)
        await self.pause(job.slice.campaign_id, reason)

    def _moved(self, carrier: Carrier, job: Job, row: Row, reply: Reply) -> bool:
        """Given back unspent, because another backend of the route may take it."""
        name = job.composition.backend
        if not self._router.goes_on(name, row.id, carrier.name):
            return False
        if reply.phase in verdicts.SHUT:
            self._rest(carrier, _words(reply))
        self._router.failed(row.id, carrier.name, _words(reply))
        self.give_back(job, row)
        return True

    def _again(self, job: Job, row: Row, carrier: Carrier, until: float) -> float | None:
        """When a row that this backend cannot take now is due: at once, if another one can."""
        name = job.composition.backend
        if not row.unsure and self._router.goes_on(name, row.id, carrier.name):
            return None
        soonest = 0.0 if row.unsure else self._router.resting(name).until
        return (soonest or until) + job.skew

    def _rest(self, carrier: Carrier, reason: str, *, lasting: bool = False) -> float:
        """Until when this backend is left alone."""
        now, breaker = self._clock(), carrier.breaker
        before = breaker.until
        until = breaker.stopped(now, reason) if lasting else breaker.failed(now, reason)
        if until > before:  # said once, not by each call that was under way; the reason may quote an address
            log.warning("backend %r rests for %.0f s", carrier.name, until - now)
            self._observer.rested(carrier.name, until - now)
            carrier.tell()
        return until


def _words(reply: Reply) -> str:
    said = " ".join(str(part) for part in (reply.code, reply.enhanced, reply.text) if part)
    return f"{reply.reason} ({said})" if reply.reason and said else reply.reason or said
