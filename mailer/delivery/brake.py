"""Stops a campaign that goes wrong, before it has gone wrong for everybody."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from mailer.delivery.limits.shares import TRANSACTIONAL
from mailer.errors import StateConflict
from mailer.ledger.contract import Campaign
from mailer.ledger.ledger import Ledger
from mailer.message import State

log = logging.getLogger(__name__)

#: The share is that of so many rows settled last; of all of them while there are fewer.
LAST = 1000
#: Somebody is told of the same trouble no more often than this.
ALARM_SECONDS = 3600.0
#: Campaigns looked at in one go, in turn: a look costs a small read each.
AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class BrakeLimits:
    """Shares between 0 and 1; 0 is off. Nothing is judged by fewer than ``least`` rows."""

    errors: float = 0.0  # rejected or failed
    policy: float = 0.0  # refused with 5.7.x: the sender's doing, not the recipient's
    least: int = 100

    @property
    def off(self) -> bool:
        return not self.errors and not self.policy


class Sample(NamedTuple):
    """How far a campaign was."""

    at: float
    settled: int
    rejected: int
    failed: int


class Brake:
    """Looks at tallies only, so a look costs the same for a million rows as for ten.

    What was settled before it first saw a campaign, or before a person resumed it, does not count. The
    transactional messages of applications are never stopped, for addresses that somebody typed wrong must not
    keep passwords from everybody else: of those somebody is told.
    """

    def __init__(self, limits: BrakeLimits) -> None:
        self._limits = limits
        self._seen: dict[int, deque[Sample]] = {}
        self._turn = 0
        self._alarms: dict[int, tuple[Campaign, str]] = {}
        self._alarmed: dict[int, float] = {}

    def look(self, ledger: Ledger, running: Sequence[Campaign]) -> list[int]:
        """Pause those of the running campaigns that go wrong; their ids."""
        if self._limits.off:
            return []
        for gone in self._seen.keys() - {one.id for one in running}:
            del self._seen[gone]
        fresh = [one for one in running if one.id not in self._seen]
        first = self._turn % max(1, len(running))
        self._turn += AT_ONCE
        turn = [*running[first:], *running[:first]][:AT_ONCE]
        asked = {one.id: one for one in (*fresh, *turn)}
        return [one.id for one in asked.values() if self._stops(ledger, one)]

    def alarms(self) -> list[tuple[Campaign, str]]:
        """What goes wrong and was not stopped, and why; each once."""
        alarms, self._alarms = list(self._alarms.values()), {}
        return alarms

    def _stops(self, ledger: Ledger, campaign: Campaign) -> bool:
        now = sample(ledger.campaigns.counts(campaign.id).states, ledger.database.clock())
        samples = self._seen.setdefault(campaign.id, deque())
        if samples and now.settled < samples[-1].settled:
            samples.clear()  # rows are tried again
        samples.append(now)
        while len(samples) > 2 and samples[1].settled <= now.settled - LAST:
            samples.popleft()
        reason = self._reason(ledger, campaign, samples[0], now)
        if reason is None:
            return False
        if campaign.stream == TRANSACTIONAL and campaign.spec.get("letters"):
            self._alarm(campaign, reason, now.at)
            return False
        log.warning("campaign %d: paused: %s, then `mailer resume %s`", campaign.id, reason, campaign.slug)
        with suppress(StateConflict):  # somebody was quicker
            ledger.campaigns.pause(campaign.id, f"{reason}, then `mailer resume {campaign.slug}`")
        return True

    def _alarm(self, campaign: Campaign, reason: str, now: float) -> None:
        self._seen[campaign.id].clear()
        if now >= self._alarmed.get(campaign.id, -inf) + ALARM_SECONDS:
            self._alarmed[campaign.id] = now
            self._alarms[campaign.id] = (campaign, reason)
            log.warning("campaign %d: goes on, though %s", campaign.id, reason)

    def _reason(self, ledger: Ledger, campaign: Campaign, before: Sample, now: Sample) -> str | None:
        settled = now.settled - before.settled
        if settled < self._limits.least:
            return None
        rejected = now.rejected - before.rejected
        policy = self._limits.policy
        if policy and rejected > policy * settled:
            refused = ledger.campaigns.refused_by_policy(campaign.id, before.at)
            if refused > policy * settled:
                return (
                    f"{refused} of the last {settled} were refused for what they are or where they come from"
                    f" (5.7.x), more than {policy:.1%}: ask the provider"
                )
        bad = rejected + now.failed - before.failed
        if self._limits.errors and bad > self._limits.errors * settled:
            return (
                f"{bad} of the last {settled} were refused or failed, more than {self._limits.errors:.1%}:"
                f" look at `mailer results {campaign.slug} --state rejected --state failed`"
            )
        return None


def sample(states: Mapping[State, int], at: float) -> Sample:
    judged = (State.ACCEPTED, State.REJECTED, State.FAILED, State.UNKNOWN)
    settled = sum(states[state] for state in judged)
    return Sample(at, settled, states[State.REJECTED], states[State.FAILED])
