"""The due rows of one campaign, read ahead of the hints."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mailer.delivery.compositions import sender_domain
from mailer.delivery.contract import Hint
from mailer.delivery.limits.shares import TRANSACTIONAL
from mailer.delivery.throttle import Keys, Throttle
from mailer.ledger.contract import Campaign
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit

#: Ids read from the ledger at once. Stale ones are harmless: the claim takes only what is still due.
AHEAD = 2000
#: A dry campaign is looked at again at least this often: rows may have been added or retried.
LOOK_AGAIN = 5.0
#: ... and one that applications hand messages to so often: their own hints may be lost.
LOOK_AGAIN_OPEN = 1.0
#: How often the lanes of a campaign are read anew.
LANES_SECONDS = 1.0
#: ... and for so many times longer than reading them took.
LANES_SHARE = 20
#: A limit is not asked more often than this.
SHORTEST_WAIT = 0.01
#: Until then a hint has certainly been claimed and has taken its tokens.
CLAIMED_SECONDS = 0.25


@dataclass(slots=True)
class Lanes:
    """Lanes that the same limits hold for. ``lanes`` None: every lane of the campaign."""

    keys: Keys
    lanes: Sequence[str] | None
    ahead: deque[int] = field(default_factory=deque)
    promised: dict[Hint, float] = field(default_factory=dict)

    def room(self, granted: int, now: float) -> int:
        """What is left of a grant after the hints that have not taken their tokens yet."""
        self.promised = {hint: until for hint, until in self.promised.items() if until > now}
        return granted - sum(len(hint.ids) for hint in self.promised)


class Source:
    """One campaign as the pump sees it: what is due, and when to look again."""

    def __init__(
        self, campaign: Campaign, writer: GroupCommit, throttle: Throttle | None, clock: Callable[[], float]
    ) -> None:
        self.campaign = campaign
        self.look_at = 0.0
        self.next_due: float | None = None
        self.dry = False
        #: Until then limits hold back all that is due; in the past when they do not.
        self.held_until = 0.0
        self._writer = writer
        self._throttle = throttle
        self._clock = clock
        self._groups = [Lanes((), None)]
        self._lanes_until = 0.0
        self.change(campaign)

    def change(self, campaign: Campaign) -> None:
        """It is to be sent in another way from now on."""
        self.campaign = campaign
        self._lanes_until = self.look_at = 0.0
        if self._throttle is not None:
            rates = tuple(campaign.spec.get("rates") or ())
            self._throttle.set_campaign(campaign.id, rates, sender_domain(campaign))

    @property
    def _open(self) -> bool:
        """Rows come while it runs, and it never ends."""
        return bool(self.campaign.spec.get("letters"))

    async def next(self, wanted: int, outstanding: Collection[int]) -> Hint | None:
        """A hint of up to ``wanted`` due rows. None: there is none before ``look_at``."""
        now = self._clock()
        if now < self.look_at:
            return None
        if self._throttle is not None and now >= self._lanes_until:
            await self._regroup(self._throttle, now)
        held: float | None = None
        for group in self._groups:
            room, wait = await self._room(group, wanted, now)
            ids = await self._due(group, min(wanted, room), outstanding)
            if ids:
                self._groups.sort(key=lambda other: other is group)  # the others are asked first next time
                return self._hinted(group, ids, now)
            if room <= 0:
                held = min(wait, wait if held is None else held)
        await self._nothing(now, held)
        return None

    @property
    def exhausted(self) -> bool:
        """Nothing is due, and nothing will be by the passing of time alone."""
        return self.dry and self.next_due is None and not self._open

    def done(self, hint: Hint) -> None:
        """A hint was worked off, or forgotten."""
        for group in self._groups:
            group.promised.pop(hint, None)
        if self.dry:
            self.look_at = 0.0  # it may have given rows back

    def _hinted(self, group: Lanes, ids: tuple[int, ...], now: float) -> Hint:
        hint = Hint(ids, self.campaign.stream)
        self.dry, self.held_until = False, 0.0
        if group.keys:
            group.promised[hint] = now + CLAIMED_SECONDS
        return hint

    async def _room(self, group: Lanes, wanted: int, now: float) -> tuple[int, float]:
        if not group.keys or self._throttle is None:
            return wanted, 0.0
        urgent = self.campaign.stream == TRANSACTIONAL
        granted, wait = await self._throttle.room(group.keys, urgent=urgent)
        return group.room(granted, now), max(wait, SHORTEST_WAIT)

    async def _due(self, group: Lanes, wanted: int, outstanding: Collection[int]) -> tuple[int, ...]:
        if wanted <= 0:
            return ()
        if not group.ahead:
            found = await self._writer.run(lambda ledger: self._read(ledger, group, len(outstanding)))
            group.ahead.extend(id_ for id_ in found if id_ not in outstanding)
        return tuple(group.ahead.popleft() for _ in range(min(wanted, len(group.ahead))))

    def _read(self, ledger: Ledger, group: Lanes, hinted: int) -> list[int]:
        """Hinted rows are still due until they are claimed: read past them."""
        limit = AHEAD + hinted
        if group.lanes is None:
            return ledger.schedule.due(self.campaign.id, None, limit)
        found: list[int] = []
        for lane in group.lanes:
            found += ledger.schedule.due(self.campaign.id, lane, limit - len(found))
            if len(found) >= limit:
                break
        return found

    async def _nothing(self, now: float, held: float | None) -> None:
        self.dry, self.held_until = True, 0.0 if held is None else now + held
        self.next_due = await self._writer.run(lambda ledger: ledger.schedule.next_due(self.campaign.id))
        if held is not None:  # the limits decide when something is due
            self.next_due = min(now + held, self.next_due or now + held)
        again = now + ((LOOK_AGAIN_OPEN if self._open else LOOK_AGAIN) if held is None else held)
        self.look_at = again if self.next_due is None else min(again, max(self.next_due, now))

    async def _regroup(self, throttle: Throttle, now: float) -> None:
        """Lanes that share their limits are read together; usually that is all of them."""
        await throttle.hear()
        began = time.perf_counter()
        known = {group.keys: group for group in self._groups}
        by_keys = await self._by_keys(throttle)
        self._groups = [_group(known.get(keys), keys, lanes) for keys, lanes in by_keys.items()]
        # A hundred thousand lanes take a third of a second to list: not every second, then.
        self._lanes_until = now + max(LANES_SECONDS, LANES_SHARE * (time.perf_counter() - began))

    async def _by_keys(self, throttle: Throttle) -> Mapping[Keys, Sequence[str] | None]:
        campaign_id, backend = self.campaign.id, self.campaign.backend
        usual = throttle.keys(backend, "", campaign_id)
        apart = throttle.lanes_apart(backend)
        if not apart:
            return {usual: None}
        by_keys: dict[Keys, list[str]] = {}
        for lane in await self._writer.run(lambda ledger: ledger.schedule.lanes(campaign_id)):
            keys = throttle.keys(backend, lane, campaign_id) if lane in apart else usual
            by_keys.setdefault(keys, []).append(lane)
        return by_keys if by_keys.keys() - {usual} else {usual: None}


def _group(known: Lanes | None, keys: Keys, lanes: Sequence[str] | None) -> Lanes:
    if known is None:
        return Lanes(keys, lanes)
    if known.lanes is None and lanes is not None:
        known.ahead.clear()  # read over lanes that have limits of their own now
    known.lanes = lanes
    return known
