"""Renews the leases of slices under way, closes the others, and hears when campaigns stop or change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress

from mailer.delivery.jobs import Job
from mailer.errors import LedgerError
from mailer.ledger.contract import CampaignState
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit

log = logging.getLogger(__name__)

#: How long claimed rows of a campaign may go on being sent as before by a worker that was not told that it
#: was paused or changed.
LOOK_SECONDS = 1.0


class Keeper:
    """One per engine; its task lives from the first job to ``close``."""

    def __init__(
        self, writer: GroupCommit, lease_seconds: float, heard: Callable[[Collection[str]], None]
    ) -> None:
        """``heard`` is told which backends are paused by a person, with each look."""
        self._writer = writer
        self._heard = heard
        self._lease_seconds = lease_seconds
        self._pause = min(LOOK_SECONDS, lease_seconds / 4)
        self._jobs: set[Job] = set()
        self._over: list[int] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, job: Job) -> None:
        self._jobs.add(job)
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    def remove(self, job: Job) -> None:
        """Its lease is closed with the next look: a commit a second, not one a slice."""
        self._jobs.discard(job)
        self._over.append(job.fence)

    def halt(self) -> None:
        """Every slice under way gives back what it has not started."""
        for job in self._jobs:
            job.halt()

    def jobs(self, campaign_id: int) -> list[Job]:
        return [job for job in self._jobs if job.slice.campaign_id == campaign_id]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._over:
            with suppress(LedgerError):  # they run out by themselves
                await self._writer.run(lambda ledger: ledger.slices.close(self._over))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                if self._jobs or self._over:
                    await self.look()
            except LedgerError as error:
                # Nothing is lost: a lease that runs out gives its rows back or marks them unknown.
                log.warning("leases not renewed: %s", error)

    async def look(self) -> None:
        """What is done every second, done now. Raises LedgerError."""
        fences = [job.fence for job in self._jobs]
        known = {job.slice.campaign_id: job.composition.revision for job in self._jobs}
        over, self._over = self._over, []

        def renew_and_look(ledger: Ledger) -> tuple[dict[int, int | None], Collection[str]]:
            if fences or over:
                ledger.slices.heartbeat(fences, self._lease_seconds)
                ledger.slices.close(over)
            return {id_: _running(ledger, id_) for id_ in known}, ledger.backends.paused()

        running, paused = await self._writer.run(renew_and_look)
        for campaign_id, revision in running.items():
            for job in self.jobs(campaign_id):
                if job.composition.revision != revision:
                    job.halt()
        self._heard(paused)


def _running(ledger: Ledger, campaign_id: int) -> int | None:
    """The revision that it runs at; None when it does not."""
    campaign = ledger.campaigns.by_id(campaign_id)
    return campaign.revision if campaign.state is CampaignState.RUNNING else None
