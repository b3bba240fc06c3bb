"""Carries messages over one session, one after the other, the next envelope behind the present body."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mailer import crash
from mailer.backends.smtp.body import unmarked
from mailer.backends.smtp.envelope import refusal, transparent
from mailer.backends.smtp.jobs import Job
from mailer.backends.smtp.session import Envelope, Session, Unsent
from mailer.backends.smtp.transaction import transact
from mailer.message import Deferred, Fenced, Phase, Rejected, Reply, Unknown

#: So many sessions may end before a message, as they do, until it is its own fault. Where no new ones may be
#: opened it can meet the end of one after the other.
MOST_ENDS = 3


class Source(Protocol):
    """Where a session gets its work: the pool."""

    async def next(self, session: Session, fresh: bool, /) -> Job | None:
        """The next message, however long that takes; None: leave. ``fresh``: the first of this session."""
        ...

    def poll(self) -> Job | None:
        """A message that waits right now and may ride behind another's body."""
        ...

    def retry(self, job: Job, /) -> None:
        """Not sent. To be handed out before all others, to a fresh session."""
        ...


class Courier:
    """Sends what its source hands out, until the connection or the source ends."""

    def __init__(self, session: Session, source: Source, *, max_messages: int = 0) -> None:
        self._session = session
        self._source = source
        self._max_messages = max_messages
        #: Transactions begun, and those that came to an end.
        self.begun = 0
        self.served = 0
        self._current: Envelope | None = None
        self._ahead: Envelope | None = None

    async def run(self) -> None:
        """Every job taken gets its outcome, or goes back unsent; then the connection is closed."""
        session = self._session
        try:
            while session.usable:
                envelope = self._ahead or await self._next()
                if envelope is None:
                    break
                self._ahead, self._current = None, envelope
                await self._carry(envelope)
                self._current = None
            if session.usable:
                await session.quit()
        finally:
            self._give_back()
            session.wire.abort()

    @property
    def _full(self) -> bool:
        return 0 < self._max_messages <= self.begun

    async def _next(self) -> Envelope | None:
        while not self._full:
            job = await self._source.next(self._session, self.begun == 0)
            if job is None:
                return None
            if not self._session.usable:
                self._source.retry(job)
                return None
            if job.batch.suspect and not await _confirmed(job):
                continue
            envelope = self._prepare(job)
            if envelope is not None:
                return envelope
        return None

    def _prepare(self, job: Job) -> Envelope | None:
        """Its commands; None when it cannot go over this session, which it was told."""
        message = job.message
        body = refusal(message, self._session.offers) or transparent(message.data)
        if isinstance(body, Rejected):
            job.settle(body)
            return None
        self.begun += 1
        return self._session.envelope(job, message.recipients, body)

    def _ride(self) -> bytes:
        """The envelope of the message that waits longest, to go out behind the present body."""
        while self._session.pipelining and not self._full:
            job = self._source.poll()
            if job is None:
                break
            envelope = self._prepare(job)
            if envelope is not None:
                crash.point("before_envelope")
                envelope.written = True
                self._ahead = envelope
                return b"".join(envelope.commands)
        return b""

    async def _carry(self, envelope: Envelope) -> None:
        job = envelope.job
        try:
            outcome = await transact(self._session, envelope, self._ride)
        except Unsent as unsent:
            self._session.broken = True
            # A connection that worked until now has ended, as they do, or its order was wrong: no fault of
            # this message. Without either the next connection would be no better.
            if unsent.again and job.tries < MOST_ENDS and (self.served or self._session.disordered):
                self._again(job)
            else:
                job.settle(unsent.outcome)
            return
        self.served += 1
        job.settle(outcome)
        # Whoever waits for this outcome runs now, and has it settled before the next message is marked: both
        # are then in one commit, and a connection never leaves two messages in doubt.
        await asyncio.sleep(0)

    def _again(self, job: Job) -> None:
        job.tries += 1
        self._source.retry(job)

    def _give_back(self) -> None:
        """The end. What rode along was not sent; what was under way when we were stopped may have been."""
        if self._current is not None and self._session.committed:
            self._current.job.settle(
                Unknown(Reply("stopped", phase=Phase.DOT, reason="We stopped before the answer."))
            )
        elif self._current is not None:
            self._current.job.settle(
                Deferred(Reply("stopped", phase=Phase.MAIL, reason="We stopped before the message."))
            )
        if self._ahead is not None:
            job = self._ahead.job
            if job.tries >= MOST_ENDS:
                job.settle(Deferred(self._session.loss(Phase.MAIL)))
            else:
                self._again(job)


async def _confirmed(job: Job) -> bool:
    """Ask for the mark before the envelope: a lost lease then costs no connection."""
    said = await job.mark()
    if not said:
        job.settle(Fenced() if said is False else unmarked())
    return bool(said)
