"""What the limits let through, asked in lots."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from mailer.delivery.compositions import Composition
from mailer.delivery.contract import Limiter
from mailer.delivery.limits.plan import Limits, lane_key
from mailer.errors import LimitsUnavailable
from mailer.ledger.contract import Row

log = logging.getLogger(__name__)

Keys = tuple[str, ...]
#: When nobody can say what may go, rows wait this long.
UNAVAILABLE_SECONDS = 1.0


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

    def groups(
        self, backend: str, composition: Composition, rows: Sequence[Row]
    ) -> Mapping[Keys, Sequence[Row]]:
        """Rows by what limits them over this backend; one ``take`` for each."""
        if self._told.get(composition.campaign_id) != composition.revision:
            # No pump tells those that do not lead.
            self.set_campaign(composition.campaign_id, composition.rates, composition.identities.domain)
            self._told[composition.campaign_id] = composition.revision
        return self._by_keys(backend, composition, rows)

    async def take(
        self, keys: Keys, rows: Sequence[Row], *, urgent: bool = False
    ) -> tuple[Sequence[Row], Sequence[Row], float]:
        """Rows that may go now, the others, and the seconds that those have to wait."""
        if not keys:
            return rows, (), 0.0
        try:
            grant = await self._limiter.take(keys, len(rows), urgent=urgent)
        except LimitsUnavailable as error:
            log.warning("%s; %d rows wait", error, len(rows))
            return (), rows, UNAVAILABLE_SECONDS
        return rows[: grant.granted], rows[grant.granted :], grant.wait

    async def slow_down(self, backend: str, lane: str, seconds: float | None) -> None:
        """This provider asked for less."""
        try:
            await self._limiter.slow_down(lane_key(backend, lane), seconds)
        except LimitsUnavailable as error:
            log.warning("%s; lane %s not slowed down", error, lane)

    async def hear(self) -> None:
        """What other processes were asked for holds here, too: at most a second later."""
        with suppress(LimitsUnavailable):  # what is known to be limited waits until there is an answer
            await self._limiter.hear()

    def keys(self, backend: str, lane: str, campaign_id: int) -> Keys:
        """What limits this lane as a whole; for the pump, which knows no single row.

        A lane that is no provider group is a domain.
        """
        sender = self._senders.get(campaign_id, "")
        return self._limits.keys_for(
            self.via(backend), lane, domain=lane, campaign_id=campaign_id, sender=sender, messages=0
        )

    def lanes_apart(self, backend: str) -> frozenset[str]:
        """Lanes of this backend that have limits of their own now."""
        return self._limits.lanes_apart(self.via(backend))

    async def room(self, keys: Keys, *, urgent: bool = False) -> tuple[int, float]:
        """Messages that may go now, and the seconds until more may."""
        try:
            grant = await self._limiter.available(keys, urgent=urgent)
        except LimitsUnavailable:  # the engines say so
            return 0, UNAVAILABLE_SECONDS
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
