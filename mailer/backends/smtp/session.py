"""One open connection, past its login: commands out, replies in, and what is known about both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailer import crash
from mailer.backends.smtp.envelope import Offers, mail, rcpt
from mailer.backends.smtp.jobs import Job
from mailer.backends.smtp.options import Timeouts
from mailer.backends.smtp.replies import Verdict
from mailer.backends.smtp.wire import Raw, Wire
from mailer.message import Deferred, Phase, Reply

DATA = b"DATA\r\n"
_SINGLE = (Phase.MAIL, Phase.RCPT, Phase.DATA)


@dataclass(slots=True)
class Envelope:
    """The commands of one transaction; DATA is among them when the message has a single recipient."""

    job: Job
    recipients: Sequence[str]
    commands: Sequence[bytes]
    phases: Sequence[Phase]
    body: bytes
    #: Already on the wire, so only its replies are to be read.
    written: bool = False


class Unsent(Exception):
    """The session is of no more use, and nothing of the message was sent: ``Unsent(outcome, again)``."""

    def __init__(self, outcome: Verdict, again: bool) -> None:
        super().__init__(outcome, again)
        self.outcome = outcome
        #: The server did not refuse this message, it went away: worth another connection at once.
        self.again = again


class Session:
    """What a transaction needs of its connection. ``broken`` once set, it is closed and never used again."""

    def __init__(self, wire: Wire, offers: Offers, timeouts: Timeouts, *, pipelining: bool = True) -> None:
        self.wire = wire
        self.offers = offers
        self.timeouts = timeouts
        self.pipelining = pipelining and offers.pipelining
        #: Out of step, timed out or lost.
        self.broken = False
        #: The server was seen to answer pipelined commands in another order than asked.
        self.disordered = False
        #: From the first byte of a body until its outcome is known.
        self.committed = False
        #: The next envelope went out behind the present body.
        self.ridden = False
        #: The transaction was given up: RSET goes out before the next one.
        self.reset_due = False
        self._limits = {phase: timeouts.of(phase) for phase in Phase}
        self._single = tuple(self._limits[phase] for phase in _SINGLE)
        self._dot = (self._limits[Phase.DOT],)

    @property
    def usable(self) -> bool:
        return not self.broken and self.wire.lost is None

    def envelope(self, job: Job, recipients: Sequence[str], body: bytes) -> Envelope:
        """The commands for these recipients. With several, DATA waits until every RCPT has its reply."""
        message = job.message
        commands = [mail(message, self.offers), *(rcpt(to, message, self.offers) for to in recipients)]
        if len(message.recipients) == 1:
            return Envelope(job, recipients, (*commands, DATA), _SINGLE, body)
        return Envelope(job, recipients, commands, (Phase.MAIL, *[Phase.RCPT] * len(recipients)), body)

    async def begin(self, envelope: Envelope) -> list[Raw]:
        """The replies to the envelope, which may be on the wire already. Raises Unsent."""
        if envelope.written:
            return await self.read(envelope.phases)
        if not self.wire.quiet:
            raise self.unsent(Phase.MAIL)
        crash.point("before_envelope")
        if self.reset_due:
            await self._reset()
        return await self.ask(envelope.commands, envelope.phases)

    async def ask(self, commands: Sequence[bytes], phases: Sequence[Phase]) -> list[Raw]:
        """Write these and read their replies: fewer when the connection ends or the rest became pointless."""
        if self.pipelining or len(commands) == 1:
            self.wire.write(b"".join(commands))
            if crash.armed("after_envelope"):
                await self.wire.empty()
                crash.point("after_envelope")
            return await self.read(phases)
        replies: list[Raw] = []
        for command, phase in zip(commands, phases, strict=True):
            self.wire.write(command)
            replies += await self.read((phase,))
            if len(replies) == 0 or _pointless(replies):
                break
        return replies

    async def read(self, phases: Sequence[Phase]) -> list[Raw]:
        if phases is _SINGLE:
            return await self.wire.read(self._single)
        return await self.wire.read([self._limits[phase] for phase in phases])

    async def read_dot(self) -> list[Raw]:
        return await self.wire.read(self._dot)

    async def _reset(self) -> None:
        self.reset_due = False
        self.wire.write(b"RSET\r\n")
        replies = await self.wire.read((self.timeouts.rset,))
        if not replies or not 200 <= replies[0].code < 300:
            raise self.unsent(Phase.MAIL)

    async def quit(self) -> None:
        """Close in good order. That the server says goodbye too is of no importance."""
        self.broken = True
        self.wire.write(b"QUIT\r\n")
        await self.wire.read((self.timeouts.quit,))
        await self.wire.close(self.timeouts.quit)

    def doubt(self) -> None:
        """The server offers PIPELINING and does not keep its order: from now on one command at a time."""
        if self.pipelining:
            self.disordered, self.pipelining = True, False

    def loss(self, phase: Phase, reason: str = "") -> Reply:
        """What happened to the connection, in plain language."""
        cause = self.wire.lost or "replies out of step"
        return Reply(
            cause,
            phase=phase,
            reason=reason or f"The connection failed before the message was sent: {cause}.",
        )

    def unsent(self, phase: Phase) -> Unsent:
        """The way out when the connection ended, or makes no sense any more, before the body."""
        if self.wire.lost is None:
            self.doubt()
        return Unsent(Deferred(self.loss(phase)), again=not self.wire.timed_out)


def _pointless(replies: Sequence[Raw]) -> bool:
    """After a refused sender or first recipient, or a goodbye, nothing more need be asked."""
    return replies[-1].code == 421 or (len(replies) <= 2 and replies[-1].code >= 300)
