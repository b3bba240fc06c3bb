"""What the limits let through, asked in lots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from mailer.delivery.compositions import Composition
from mailer.delivery.contract import Grant, Limiter
from mailer.delivery.limits.plan import Limits, lane_key
from mailer.errors import LimitsUnavailable
from mailer.ledger.contract import Row

log = logging.getLogger(__name__)

Keys = tuple[str, ...]
#: When nobody can say what may go, rows wait this long.
UNAVAILABLE_SECONDS = 2.0


class Throttle:
    """Limits of one process: which keys a row needs, and whether they allow it now.

    Costs no call where nothing limits a row. While the limits cannot be asked, nothing that they concern
    goes: it waits, and is tried again.
    """

    def __init__(self, limits: Limits, limiter: Limiter) -> None:
        self._limits = limits
        self._limiter = limiter
        #: The backend whose limits count for a campaign that names a route. The engine knows which works.
        self.via: Callable[[str], str] = str
        self._told: dict[int, int] = {}
        self._senders: dict[int, str] = {}

    def set_campaign(self, campaign_id: int, rates: Sequence[str], sender: str = "") -> None:
        """The campaign's own ``rate``, and the domain that it is sent from."""
        self._limits.set_campaign(campaign_id, rates)
        self._senders[campaign_id] = sender

    async def close(self) -> None:
        await self._limiter.close()

    async def allow(
        self, backend: str, composition: Composition, rows: Sequence[Row]
    ) -> tuple[Sequence[Row], Sequence[tuple[Row, float]]]:
        """Rows that may go over this backend now, and the others with the seconds they have to wait."""
        if self._told.get(composition.campaign_id) != composition.revision:
            # No pump tells those that do not lead.
            self.set_campaign(composition.campaign_id, composition.rates, composition.identities.domain)
            self._told[composition.campaign_id] = composition.revision
        groups = self._by_keys(backend, composition, rows)
        if not any(groups):
            return rows, ()
        grants = await asyncio.gather(*(self._take(keys, len(group)) for keys, group in groups.items()))
        allowed: list[Row] = []
        held: list[tuple[Row, float]] = []
        for group, grant in zip(groups.values(), grants, strict=True):
            allowed += group[: grant.granted]
            held += ((row, grant.wait) for row in group[grant.granted :])
        return allowed, held

    async def slow_down(self, backend: str, lane: str, seconds: float | None) -> None:
        """This provider asked for less."""
        try:
            await self._limiter.slow_down(lane_key(backend, lane), seconds)
        except LimitsUnavailable as error:
            log.warning("%s; lane %s not slowed down", error, lane)

    def keys(self, backend: str, lane: str, campaign_id: int) -> Keys:
        """What limits this lane as a whole; for the pump, which knows no single row.

        A lane that is no provider group is a domain.
        """
        sender = self._senders.get(campaign_id, "")
        return self._limits.keys_for(
            self.via(backend), lane, domain=lane, campaign_id=campaign_id, sender=sender, messages=0
        )

    def tells_lanes_apart(self, backend: str) -> bool:
        """Whether any lane of this backend has limits of its own now."""
        return self._limits.tells_lanes_apart(self.via(backend))

    async def room(self, keys: Keys) -> tuple[int, float]:
        """Messages that may go now, and the seconds until more may."""
        try:
            grant = await self._limiter.available(keys)
        except LimitsUnavailable:  # the engines say so
            return 0, UNAVAILABLE_SECONDS
        return grant.granted, grant.wait

    async def _take(self, keys: Keys, wanted: int) -> Grant:
        try:
            return await self._limiter.take(keys, wanted)
        except LimitsUnavailable as error:
            log.warning("%s; %d rows wait", error, wanted)
            return Grant(0, UNAVAILABLE_SECONDS)

    def _by_keys(
        self, backend: str, composition: Composition, rows: Sequence[Row]
    ) -> Mapping[Keys, list[Row]]:
        places: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            places.setdefault((row.lane, row.address.rpartition("@")[2]), []).append(row)
        groups: dict[Keys, list[Row]] = {}
        for (lane, domain), group in places.items():
            keys = self._limits.keys_for(
                backend,
                lane,
                domain=domain,
                campaign_id=composition.campaign_id,
                sender=composition.identities.domain,
                messages=len(group),
            )
            groups.setdefault(keys, []).extend(group)
        return groups
