"""From the 354 to the answer: mark, body and final dot, and the next envelope behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailer import crash
from mailer.backends.smtp.refusals import ends_session, verdict
from mailer.backends.smtp.replies import Verdict, read
from mailer.backends.smtp.session import Envelope, Session
from mailer.backends.smtp.wire import Raw
from mailer.message import Deferred, Fenced, Outcome, Phase, Reply, Unknown

#: A body up to this size goes out in one write; a larger one in pieces, so that we know whether the dot went.
CHUNK = 131_072

#: The commands of the next message, to go out behind a body; empty when none waits.
Ride = Callable[[], bytes]


async def send_body(session: Session, envelope: Envelope, ride: Ride) -> Outcome:
    """The server waits for the message. Whatever happens now, it gets all of it or the connection ends."""
    if not session.wire.quiet:
        return await _interrupted(session)
    crash.point("before_mark")
    said = await envelope.job.mark()
    crash.point("after_mark")
    if not said:
        session.broken = True
        session.wire.abort()
        return Fenced() if said is False else unmarked()
    return await transmit(session, envelope, ride)


async def transmit(session: Session, envelope: Envelope, ride: Ride) -> Verdict | Unknown:
    """The body of a message that is marked, and what the server says to its dot."""
    if not session.wire.quiet:
        return await _interrupted(session)
    session.committed = True
    early = await _write(session, envelope.body, ride)
    outcome = early or _dot_verdict(session, await _dot_reply(session))
    session.committed = False
    crash.point("after_reply")
    return outcome


async def _interrupted(session: Session) -> Verdict:
    """After the 354 and before the body the server spoke again, or went. Not one byte of the body is out."""
    session.broken = True
    replies = await session.wire.read((session.timeouts.rset,))
    if replies and replies[0].code >= 400:
        return verdict(replies[0], Phase.DATA)
    return Deferred(session.loss(Phase.DATA))


async def _write(session: Session, data: bytes, ride: Ride) -> Verdict | Unknown | None:
    """Body, dot and the next envelope. An outcome: it ended before the dot."""
    if len(data) > CHUNK or crash.armed("before_dot"):
        for start in range(0, len(data), CHUNK):
            session.wire.write(data[start : start + CHUNK])
            if not await session.wire.flush(session.timeouts.body):
                return await _cut_short(session)
        data = b""
        if crash.armed("before_dot"):
            await session.wire.empty()
            crash.point("before_dot")
    behind = ride()
    session.ridden = bool(behind)
    session.wire.write(data + b".\r\n" + behind)
    if crash.armed("after_dot") or (behind and crash.armed("after_envelope")):
        await session.wire.empty()
        crash.point("after_dot")
        crash.point("after_envelope")
    return None


def no_ride() -> bytes:
    return b""


async def _cut_short(session: Session) -> Verdict | Unknown:
    """Before the dot the server spoke, or went: the message cannot be complete on its side."""
    session.broken = True
    replies = await session.wire.read((session.timeouts.rset,))
    if not replies:
        return Deferred(session.loss(Phase.BODY))
    raw = replies[0]
    if raw.code < 400:
        return Unknown(session.loss(Phase.BODY, "The server answered before the message was complete."))
    return verdict(raw, Phase.DOT)


async def _dot_reply(session: Session) -> list[Raw]:
    """The reply to the dot, also from a server that answers what rode behind the body first.

    Postfix smtp-sink does so when told to answer late (``-W .:1``). It shows: X.1.Y is about addresses
    (RFC 3463), and the 354 comes where the reply to RCPT should be.
    """
    replies = await session.read_dot()
    if not (session.ridden and replies and replies[0].text.startswith(b"2.1.")):
        return replies
    behind = await session.read((Phase.MAIL, Phase.RCPT))
    if len(behind) == 2 and behind[1].code == 354:
        session.doubt()
        answer = await session.read_dot()
        session.wire.unread([*replies, *behind])
        return answer
    session.wire.unread(behind)
    return replies


def _dot_verdict(session: Session, replies: Sequence[Raw]) -> Verdict | Unknown:
    """The reply to the dot; without one, nobody knows."""
    if not replies:
        session.broken = True
        return Unknown(
            session.loss(Phase.DOT, "The connection failed after the message was sent, before the answer.")
        )
    raw = replies[0]
    if 300 <= raw.code < 400:
        session.broken = True
        return Unknown(
            read(raw.code, raw.text.decode(errors="replace"), Phase.DOT, "No answer to a message.")
        )
    outcome = verdict(raw, Phase.DOT)
    session.broken |= ends_session(raw, outcome)
    return outcome


def unmarked() -> Deferred:
    """The caller went away, or could not record that the message goes out."""
    return Deferred(
        Reply("not sent", phase=Phase.DATA, reason="It could not be recorded that the message goes out.")
    )
