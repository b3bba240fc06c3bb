"""One ``send`` call and its messages, as pool and sessions pass them around."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from mailer.errors import BackendUnusable
from mailer.message import Blocked, Deferred, Mark, Outcome, Outgoing, Phase, Reply

log = logging.getLogger(__name__)


class Batch:
    """Counts its messages down; ``done`` is set with the last outcome, or raises when nothing was sent."""

    __slots__ = ("_left", "_outcomes", "abandoned", "done", "jobs", "mark", "suspect")

    def __init__(self, messages: Sequence[Outgoing], mark: Mark) -> None:
        self.mark = mark
        self.jobs = [Job(self, index, message) for index, message in enumerate(messages)]
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: The caller went away: what is not on the wire yet stays unsent.
        self.abandoned = False
        #: A lease of this batch was lost, so others may be: ask before the envelope, at no connection's cost.
        self.suspect = False
        self._outcomes: list[Outcome | None] = [None] * len(messages)
        self._left = len(messages)

    def settle(self, index: int, outcome: Outcome) -> None:
        if self._outcomes[index] is None:
            self._outcomes[index] = outcome
            self._left -= 1
            if self._left == 0 and not self.done.done():
                self.done.set_result(None)

    def fail(self, error: BackendUnusable, unsent: Sequence[Job]) -> None:
        """No session can be had for these. Are they all of the batch, raise; otherwise they were not sent."""
        if len(unsent) == len(self.jobs):
            if not self.done.done():
                self.done.set_exception(error)
            return
        reply = Reply(error.reason, phase=Phase.CONNECT, reason=error.reason)
        for job in unsent:
            job.settle(Blocked(reply) if error.lasting else Deferred(reply))

    def outcomes(self) -> list[Outcome]:
        """One per message, in order, once ``done`` is set."""
        return [outcome for outcome in self._outcomes if outcome is not None]


class Job:
    """One message on its way through the pool."""

    __slots__ = ("batch", "index", "marked", "message", "tries")

    def __init__(self, batch: Batch, index: int, message: Outgoing) -> None:
        self.batch = batch
        self.index = index
        self.message = message
        #: The ledger has said yes: never ask twice.
        self.marked = False
        #: How often a connection broke under it before anything of it was sent.
        self.tries = 0

    @property
    def open(self) -> bool:
        """Still to be sent."""
        return not self.batch.abandoned and not self.batch.done.done()

    def settle(self, outcome: Outcome) -> None:
        self.batch.settle(self.index, outcome)

    async def mark(self) -> bool | None:
        """True: send it. False: the lease is lost. None: the caller is gone or could not record it."""
        if self.marked:
            return True
        if self.batch.abandoned:
            return None
        try:
            self.marked = await self.batch.mark(self.message)
        except Exception as error:  # noqa: BLE001 - whatever the ledger raises, this message is not sent
            log.debug("mark failed: %s", type(error).__name__)
            return None
        self.batch.suspect |= not self.marked
        return self.marked
