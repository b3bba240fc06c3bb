"""What the limits let through, asked in lots."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mailer.delivery.compositions import Composition
from mailer.delivery.contract import Limiter
from mailer.delivery.limits.plan import Limits, lane_key
from mailer.ledger.contract import Row

Keys = tuple[str, ...]


class Throttle:
    """Limits of one process: which keys a row needs, and whether they allow it now.

    Costs no call where nothing limits a row.
    """

    def __init__(self, limits: Limits, limiter: Limiter) -> None:
        self._limits = limits
        self._limiter = limiter
        self._told: dict[int, int] = {}

    def set_campaign(self, campaign_id: int, rates: Sequence[str]) -> None:
        self._limits.set_campaign(campaign_id, rates)

    async def allow(
        self, backend: str, composition: Composition, rows: Sequence[Row]
    ) -> tuple[Sequence[Row], Sequence[tuple[Row, float]]]:
        """Rows that may go over this backend now, and the others with the seconds they have to wait."""
        if self._told.get(composition.campaign_id) != composition.revision:
            # No pump tells those that do not lead.
            self.set_campaign(composition.campaign_id, composition.rates)
            self._told[composition.campaign_id] = composition.revision
        groups = self._by_keys(backend, composition, rows)
        if not any(groups):
            return rows, ()
        grants = await asyncio.gather(
            *(self._limiter.take(keys, len(group)) for keys, group in groups.items())
        )
        allowed: list[Row] = []
        held: list[tuple[Row, float]] = []
        for group, grant in zip(groups.values(), grants, strict=True):
            allowed += group[: grant.granted]
            held += ((row, grant.wait) for row in group[grant.granted :])
        return allowed, held

    async def slow_down(self, backend: str, lane: str, seconds: float | None) -> None:
        """This provider asked for less."""
        await self._limiter.slow_down(lane_key(backend, lane), seconds)

    def keys(self, backend: str, lane: str, campaign_id: int) -> Keys:
        """What limits this lane as a whole; for the pump, which knows no single row.

        A lane that is no provider group is a domain.
        """
        return self._limits.keys_for(backend, lane, domain=lane, campaign_id=campaign_id, messages=0)

    def tells_lanes_apart(self, backend: str) -> bool:
        """Whether any lane of this backend has limits of its own now."""
        return self._limits.tells_lanes_apart(backend)

    async def room(self, keys: Keys) -> tuple[int, float]:
        """Messages that may go now, and the seconds until more may."""
        grant = await self._limiter.available(keys)
        return grant.granted, grant.wait

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
