"""What whoever leads looks after, beside hinting: on the ledger's thread, every second and between."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mailer.delivery import epoch
from mailer.delivery.brake import Brake, BrakeLimits
from mailer.delivery.epoch import EpochCopy
from mailer.delivery.notices import Notice, NotifyConfig
from mailer.ledger.contract import Campaign, Event, Runner
from mailer.ledger.ledger import Ledger
from mailer.ledger.schedule import MISFIRE_SECONDS
from mailer.ledger.status import status

log = logging.getLogger(__name__)

#: A pump that shows no sign of life for so long is replaced by another.
LEAD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Care:
    """What the settings say about campaigns that nobody watches."""

    brake: BrakeLimits = field(default_factory=BrakeLimits)
    misfire_after: float = MISFIRE_SECONDS
    notify: NotifyConfig | None = None
    routes: Mapping[str, Collection[str]] = field(default_factory=dict)  # the backends of each


@dataclass(frozen=True, slots=True)
class News:
    """What a look at the ledger brought."""

    campaigns: Sequence[Campaign] = ()  # that run, by priority and age
    paused: frozenset[str] = frozenset()  # backends that a person has stopped
    notices: Sequence[Notice] = ()


class Oversight:
    """Of all campaigns of one runner, or of the one that ``only`` names."""

    def __init__(
        self, name: str, runner: Runner, worker: str, care: Care, *, only: int | None, copy: EpochCopy | None
    ) -> None:
        self._name = name
        self._runner = runner
        self._worker = worker
        self._care = care
        self._only = only
        self._copy = copy
        self._brake = Brake(care.brake)

    def keep(self, ledger: Ledger) -> News | None:
        """Once a second. None: somebody else leads, or nobody may."""
        if not ledger.schedule.lead(self._name, self._worker, LEAD_SECONDS):
            return None
        recovered = ledger.slices.recover()
        if recovered.leases:
            log.info("leases ran out: %d rows returned, %d unknown", recovered.returned, recovered.unknown)
        if self._copy is not None and not epoch.beat(ledger, self._copy, self._runner):
            log.error("%s", epoch.RESTORED)
            return None
        if self._only is None:
            ledger.handover.collect()
        ledger.backends.follow(self._care.routes)
        seen = self.look(ledger)
        return News(seen.campaigns, seen.paused, self.notices(ledger))

    def look(self, ledger: Ledger) -> News:
        """As often as there is something to do."""
        running = ledger.schedule.runnable(self._runner, self._care.misfire_after)
        running = [campaign for campaign in running if self._only in (None, campaign.id)]
        stopped = self._brake.look(ledger, running)
        running = [campaign for campaign in running if campaign.id not in stopped]
        return News(running, ledger.backends.paused())

    def notices(self, ledger: Ledger) -> list[Notice]:
        """What has not been told yet, if anybody wants to know."""
        alarms = self._brake.alarms()
        if self._care.notify is None:
            return []
        told = [
            (campaign, event, campaign.reason)
            for campaign, event in ledger.events.untold(self._runner)
            if self._only in (None, campaign.id)
        ]
        told += [(campaign, Event.ALARM, reason) for campaign, reason in alarms]
        return [Notice(one.id, event, status(ledger, one), reason) for one, event, reason in told]
