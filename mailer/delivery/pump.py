"""Finds due rows and hints them: fairly between campaigns, within the limits, never more than is free."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mailer.delivery.carrier import Resting
from mailer.delivery.contract import Dispatcher, Hint
from mailer.delivery.dispatcher import Done
from mailer.delivery.epoch import EpochCopy
from mailer.delivery.notices import Notifier
from mailer.delivery.oversight import Care, News, Oversight
from mailer.delivery.source import Source
from mailer.delivery.throttle import Throttle
from mailer.errors import BrokerUnavailable, LedgerError
from mailer.ledger.contract import Runner, campaign_of
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit

log = logging.getLogger(__name__)

#: How often leases are recovered and the epoch raised.
HOUSE_SECONDS = 1.0
#: While there is work, campaigns are listed anew no more often than this.
LIST_SECONDS = 0.1
#: How long a paused backend is left alone before that is looked at again.
PAUSED_SECONDS = 0.5
#: What is being told to people may take so long after the end.
TELL_SECONDS = 20.0
#: When there is no room, and the dispatcher does not say when there is.
FULL_SECONDS = 0.2
RECIPIENTS_PER_TASK = 200


@dataclass(slots=True)
class Allowance:
    """Rows that may still be tried (``send --limit``). None left: the pump hints nothing more."""

    left: int


class Pump:
    """One leads at a time, by a lease in the ledger; what is outstanding it keeps in memory only.

    ``only`` restricts it to one campaign. ``rests`` says until when a backend is left alone; ``care`` what
    to do for campaigns that nobody watches. It wakes when a hint is done, when a row falls due, when a
    limit allows more, and once a second.
    """

    def __init__(
        self,
        writer: GroupCommit,
        dispatcher: Dispatcher,
        *,
        runner: Runner,
        worker: str,
        throttle: Throttle | None = None,
        epoch_copy: EpochCopy | None = None,
        only: int | None = None,
        allowance: Allowance | None = None,
        rests: Callable[[str], Resting] = lambda _: Resting(),
        recipients_per_task: int = RECIPIENTS_PER_TASK,
        care: Care | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._dispatcher = dispatcher
        self._throttle = throttle
        self._allowance = allowance
        self._rests = rests
        self._recipients_per_task = recipients_per_task
        self._clock = clock
        self.name = f"pump:{runner}" if only is None else f"pump:{only}"
        care = care or Care()
        self._oversight = Oversight(self.name, runner, worker, care, only=only, copy=epoch_copy)
        self._notifier = Notifier(care.notify, writer) if care.notify else None
        self._paused: frozenset[str] = frozenset()
        self._leading = False
        self._full = False
        self._house_at = 0.0
        self._list_at = 0.0
        self._sources: dict[int, Source] = {}
        self._error: BaseException | None = None
        self._woken = asyncio.Event()
        #: Set when a campaign no longer runs; whoever waits for that clears it.
        self.changed = asyncio.Event()
        self.last_try = clock()

    def done(self, done: Done) -> None:
        """For dispatchers that know when a hint was worked off."""
        source = self._sources.get(campaign_of(done.hint.ids[0]))
        if source is not None:
            source.done(done.hint)
        if done.delivered.spent:
            self.last_try = self._clock()
        if self._allowance is not None:
            self._allowance.left -= done.delivered.spent
        if not isinstance(done.error, BrokerUnavailable):  # the rows are where they were
            self._error = self._error or done.error
        self.wake()

    def wake(self) -> None:
        self._woken.set()

    def heed(self) -> None:
        """The ledger was changed by somebody else: list the campaigns now, and look for rows in each."""
        self._list_at = 0.0
        for source in self._sources.values():
            source.look_at = 0.0
        self.wake()

    async def run(self, stop: asyncio.Event) -> None:
        """Pump until told to stop. Raises LedgerError, and what a slice raised."""
        while not stop.is_set():
            self._woken.clear()
            pause = await self.tick()
            if pause > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), pause)

    async def tick(self) -> float:
        """Hint what can be hinted now; the seconds until there may be more to do without being woken."""
        if self._error is not None:
            raise self._error
        now = self._clock()
        if now >= self._house_at:
            await self._keep_house(now)
        elif self._leading and now >= self._list_at:
            self._take(await self._writer.run(self._oversight.look), now)
        if not self._leading:
            return self._house_at - now
        self._full = False
        while await self._hint_one():
            pass
        await self._finish()
        return self._pause()

    def idle_until(self) -> float | None:
        """When there is something to do again, if there is nothing until then; None otherwise."""
        if self._dispatcher.outstanding() or not self._sources:
            return None
        idle = [self._idle(source) for source in self._sources.values()]
        known = [until for until in idle if until is not None]
        return min(known) if len(known) == len(idle) else None

    def held_back(self) -> float:
        """For so many seconds limits still hold back everything that is due; 0 when something may go or is
        hinted, when nothing is due, and where another pump leads."""
        if not self._leading or self._dispatcher.outstanding():
            return 0.0
        going = [source for source in self._sources.values() if source.campaign.backend not in self._paused]
        due = [source.held_until for source in going if source.held_until or not source.dry]
        return max(0.0, min(due, default=0.0) - self._clock())

    async def close(self, seconds: float = TELL_SECONDS) -> None:
        """Tell what there is to tell, for so long; the next pump tells the rest."""
        if self._notifier is not None:
            if self._leading:
                with suppress(LedgerError):  # then it is told another time
                    self._notifier.tell(await self._writer.run(self._oversight.notices))
            await self._notifier.finish(seconds)

    def _idle(self, source: Source) -> float | None:
        if source.campaign.backend in self._paused:
            return self._clock()
        resting = self._rests(source.campaign.backend).until
        if resting > self._clock():
            return resting
        return source.next_due if source.dry else None

    # Once a second.

    async def _keep_house(self, now: float) -> None:
        self._house_at = now + HOUSE_SECONDS
        news = await self._writer.run(self._oversight.keep)
        self._leading = news is not None
        self._take(news or News(), now)

    def _take(self, news: News, now: float) -> None:
        self._list_at = now + LIST_SECONDS
        self._paused = news.paused
        if self._notifier is not None:
            self._notifier.tell(news.notices)
        wanted = {campaign.id: campaign for campaign in news.campaigns}
        for gone in self._sources.keys() - wanted.keys():
            del self._sources[gone]
            self.changed.set()
        for id_, campaign in wanted.items():
            source = self._sources.get(id_)
            if source is None:
                self._sources[id_] = Source(campaign, self._writer, self._throttle, self._clock)
            elif source.campaign.revision != campaign.revision:
                source.change(campaign)

    # As often as there is room.

    async def _hint_one(self) -> bool:
        """One hint for the campaign that has least under way. False: nothing more fits or is due."""
        outstanding = self._dispatcher.outstanding()
        share = Counter(map(campaign_of, outstanding))
        streams = {source.campaign.stream for source in self._sources.values()}
        free = {stream: self._free(stream, outstanding) for stream in streams}
        if free and max(free.values()) <= 0:
            self._full = True
            return False
        for source in sorted(self._sources.values(), key=lambda source: _turn(source, share)):
            hint = await self._next(source, free[source.campaign.stream], outstanding)
            if hint is not None:
                await self._dispatcher.dispatch(hint)
                return True
        return False

    def _free(self, stream: str, outstanding: frozenset[int]) -> int:
        free = self._dispatcher.free(stream)
        return free if self._allowance is None else min(free, self._allowance.left - len(outstanding))

    async def _next(self, source: Source, free: int, outstanding: frozenset[int]) -> Hint | None:
        until = self._rests(source.campaign.backend).until
        if source.campaign.backend in self._paused:
            until = max(until, self._clock() + PAUSED_SECONDS)
        if until > self._clock():
            source.look_at = until
            return None
        if free <= 0:
            self._full = True
            return None
        size = int(source.campaign.spec.get("recipients_per_task") or self._recipients_per_task)
        if free < size and outstanding and self._allowance is None:
            self._full = True  # a whole slice will soon fit; crumbs cost as much as slices
            return None
        return await source.next(min(size, free), outstanding)

    async def _finish(self) -> None:
        """End campaigns of which nothing is left; the ledger has the last word."""
        for source in list(self._sources.values()):
            if source.exhausted and not self._busy(source):
                campaign_id = source.campaign.id
                if await self._writer.run(partial(_finish, campaign_id)):
                    log.info("campaign %d: finished", campaign_id)
                    del self._sources[campaign_id]
                    self.changed.set()

    def _busy(self, source: Source) -> bool:
        return any(campaign_of(id_) == source.campaign.id for id_ in self._dispatcher.outstanding())

    def _pause(self) -> float:
        if self._full:
            return FULL_SECONDS
        moments = [source.look_at for source in self._sources.values()]
        return max(0.0, min([self._house_at, *moments]) - self._clock())


def _finish(campaign_id: int, ledger: Ledger) -> bool:
    return ledger.schedule.finish(campaign_id)


def _turn(source: Source, share: Mapping[int, int]) -> tuple[bool, int, int]:
    """Somebody waits for transactional mail; then priority; then who has least under way."""
    campaign = source.campaign
    return campaign.stream != "transactional", -campaign.priority, share.get(campaign.id, 0)
