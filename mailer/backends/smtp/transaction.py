"""One message over one session: envelope, mark, body, and what the replies mean for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailer import crash
from mailer.backends.smtp.replies import Verdict, classify, read
from mailer.backends.smtp.session import DATA, Envelope, Session, Unsent
from mailer.backends.smtp.wire import Raw
from mailer.message import Accepted, Deferred, Fenced, Outcome, Phase, Reply, Unknown

#: A body up to this size goes out in one write; a larger one in pieces, so that we know whether the dot went.
CHUNK = 131_072
#: From this attempt on a copy that is refused for now no longer holds up the message itself.
PATIENT_ATTEMPTS = 2


#: The commands of the next message, to go out behind a body; empty when none waits.
Ride = Callable[[], bytes]


@dataclass(slots=True)
class Copies:
    """What became of the Cc and Bcc recipients of one message."""

    refused: list[tuple[str, Reply]] = field(default_factory=list)
    #: Over the server's limit of recipients (452 4.5.3): they get a transaction of their own.
    rest: list[str] = field(default_factory=list)


async def transact(session: Session, envelope: Envelope, ride: Ride) -> Outcome:
    """Send one message. Raises Unsent when the connection broke before anything of the body was written."""
    if len(envelope.recipients) == 1:
        replies = await session.begin(envelope)
        if not _go_ahead(replies):
            return await _refused(session, envelope, replies)
        return await _body(session, envelope, ride)
    copies = Copies()
    outcome = await _with_copies(session, envelope, copies, ride)
    if isinstance(outcome, Accepted):
        await _send_rest(session, envelope, copies)
        return Accepted(outcome.reply, outcome.reference, tuple(copies.refused))
    return outcome


def _go_ahead(replies: Sequence[Raw]) -> bool:
    return (
        len(replies) == 3
        and replies[2].code == 354
        and 200 <= replies[1].code < 300
        and 200 <= replies[0].code < 300
    )


# --- refused before the body ---------------------------------------------------------------------


async def _refused(session: Session, envelope: Envelope, replies: Sequence[Raw]) -> Outcome:
    """Of MAIL, RCPT and DATA the first refusal decides; the others only have to make sense beside it."""
    phases = envelope.phases
    place = next((i for i, raw in enumerate(replies) if not _good(raw, phases[i])), len(replies))
    if place == len(replies):
        raise session.unsent(phases[place] if place < len(phases) else phases[-1])
    outcome = _refusal(session, replies[place], phases[place])
    later = [raw.code for raw in replies[place + 1 :]]
    alone = phases[place] is Phase.MAIL or len(envelope.recipients) == 1
    if alone and any(code < 300 for code in later):  # a reply too many or too few: whose refusal is this?
        raise session.unsent(phases[place])
    if later and later[-1] == 354:
        await _empty_message(session)
    elif phases[place] is not Phase.MAIL:
        session.reset_due = True
    return outcome


def _good(raw: Raw, phase: Phase) -> bool:
    return raw.code == 354 if phase is Phase.DATA else 200 <= raw.code < 300


def _refusal(session: Session, raw: Raw, phase: Phase) -> Verdict:
    """A 4xx or 5xx. Raises Unsent when it speaks of the connection rather than of this message."""
    if raw.code < 400:
        raise session.unsent(phase)
    outcome = _classify(raw, phase)
    if _ends_session(raw, outcome):
        if raw.code != 421:
            session.doubt()
        raise Unsent(outcome, again=True)
    return outcome


def _ends_session(raw: Raw, outcome: Outcome) -> bool:
    """421 closes the connection; a server that does not understand our commands is out of step."""
    return raw.code == 421 or (raw.code in (500, 502, 503) and isinstance(outcome, Deferred))


async def _empty_message(session: Session) -> None:
    """354 although every RCPT was refused: RFC 2920 section 3.1 wants a lone dot."""
    session.wire.write(b".\r\n")
    if not await session.read_dot():
        session.broken = True


# --- several recipients --------------------------------------------------------------------------


async def _with_copies(session: Session, envelope: Envelope, copies: Copies, ride: Ride) -> Outcome:
    replies = await session.begin(envelope)
    if not replies or not _good(replies[0], Phase.MAIL) or len(replies) < 2 or replies[1].code >= 300:
        return await _refused(session, envelope, replies)
    if len(replies) < len(envelope.phases):
        raise session.unsent(Phase.RCPT)
    for recipient, raw in zip(envelope.recipients[1:], replies[2:], strict=True):
        waits = _sort_copy(session, envelope, copies, recipient, raw)
        if waits is not None:
            session.reset_due = True
            return waits
    return await _data(session) or await _body(session, envelope, _no_ride if copies.rest else ride)


def _sort_copy(
    session: Session, envelope: Envelope, copies: Copies, recipient: str, raw: Raw
) -> Outcome | None:
    """Put one copy where it belongs; an outcome when the whole message has to wait for it."""
    if _good(raw, Phase.RCPT):
        return None
    if _too_many(raw):
        copies.rest.append(recipient)
        return None
    outcome = _refusal(session, raw, Phase.RCPT)
    if raw.code < 500 and envelope.job.message.attempt <= PATIENT_ATTEMPTS:
        return outcome
    copies.refused.append((recipient, outcome.reply))
    return None


def _too_many(raw: Raw) -> bool:
    """RFC 5321 section 4.5.3.1.10; 552 is what RFC 821 said."""
    text = raw.text.lower()
    return raw.code in (452, 552) and (
        text.startswith((b"4.5.3", b"5.5.3")) or b"too many recipients" in text
    )


async def _data(session: Session) -> Verdict | None:
    """DATA on its own, once at least one recipient was accepted. None: the server waits for the message."""
    replies = await session.ask((DATA,), (Phase.DATA,))
    if not replies:
        raise session.unsent(Phase.DATA)
    if replies[0].code == 354:
        return None
    session.reset_due = True
    return _refusal(session, replies[0], Phase.DATA)


async def _send_rest(session: Session, first: Envelope, copies: Copies) -> None:
    """Further transactions of the same message, each with as many recipients as the server takes."""
    while copies.rest:
        waiting, copies.rest = copies.rest, []
        envelope = session.envelope(first.job, waiting, first.body)
        try:
            reply = await _follow_up(session, envelope, copies)
        except Unsent as unsent:
            session.broken = True
            reply = unsent.outcome.reply
        if reply is not None:
            settled = {recipient for recipient, _ in copies.refused}
            copies.refused += [(recipient, reply) for recipient in waiting if recipient not in settled]
            copies.rest = []


async def _follow_up(session: Session, envelope: Envelope, copies: Copies) -> Reply | None:
    """None: whoever is neither refused nor left over has it. Otherwise why nobody of this envelope has."""
    replies = await session.begin(envelope)
    if len(replies) < len(envelope.phases):
        raise session.unsent(Phase.RCPT)
    if not _good(replies[0], Phase.MAIL):
        return _reply(replies[0], Phase.MAIL)
    for recipient, raw in zip(envelope.recipients, replies[1:], strict=True):
        if _too_many(raw):
            copies.rest.append(recipient)
        elif not _good(raw, Phase.RCPT):
            copies.refused.append((recipient, _reply(raw, Phase.RCPT)))
    if not any(_good(raw, Phase.RCPT) for raw in replies[1:]):
        session.reset_due = True
        return _reply(replies[1], Phase.RCPT)
    outcome = await _data(session) or await _transmit(session, envelope, _no_ride)
    return None if isinstance(outcome, Accepted) else outcome.reply


def _reply(raw: Raw, phase: Phase) -> Reply:
    return _classify(raw, phase).reply


def _classify(raw: Raw, phase: Phase) -> Verdict:
    return classify(raw.code, raw.text.decode(errors="replace"), phase)


# --- mark, body, dot -----------------------------------------------------------------------------


async def _body(session: Session, envelope: Envelope, ride: Ride) -> Outcome:
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
    return await _transmit(session, envelope, ride)


async def _transmit(session: Session, envelope: Envelope, ride: Ride) -> Verdict | Unknown:
    if not session.wire.quiet:
        return await _interrupted(session)
    session.committed = True
    early = await _write(session, envelope.body, ride)
    outcome = early or _verdict(session, await _dot_reply(session))
    session.committed = False
    crash.point("after_reply")
    return outcome


async def _interrupted(session: Session) -> Verdict:
    """After the 354 and before the body the server spoke again, or went. Not one byte of the body is out."""
    session.broken = True
    replies = await session.wire.read((session.timeouts.rset,))
    if replies and replies[0].code >= 400:
        return _classify(replies[0], Phase.DATA)
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


def _no_ride() -> bytes:
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
    return _classify(raw, Phase.DOT)


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


def _verdict(session: Session, replies: Sequence[Raw]) -> Verdict | Unknown:
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
    outcome = _classify(raw, Phase.DOT)
    session.broken |= _ends_session(raw, outcome)
    return outcome


def unmarked() -> Deferred:
    """The caller went away, or could not record that the message goes out."""
    return Deferred(
        Reply("not sent", phase=Phase.DATA, reason="It could not be recorded that the message goes out.")
    )
