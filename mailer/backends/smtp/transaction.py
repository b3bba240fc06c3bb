"""One message over one session: its envelope, its copies, and what the replies mean for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailer.backends.smtp.body import Ride, no_ride, send_body, transmit
from mailer.backends.smtp.refusals import first_refusal, good, refusal, verdict
from mailer.backends.smtp.replies import Verdict
from mailer.backends.smtp.session import DATA, Envelope, Session, Unsent
from mailer.backends.smtp.wire import Raw
from mailer.message import Accepted, Outcome, Phase, Reply

#: From this attempt on a copy that is refused for now no longer holds up the message itself.
PATIENT_ATTEMPTS = 2


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
            return await first_refusal(session, envelope, replies)
        return await send_body(session, envelope, ride)
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


async def _with_copies(session: Session, envelope: Envelope, copies: Copies, ride: Ride) -> Outcome:
    replies = await session.begin(envelope)
    if not replies or not good(replies[0], Phase.MAIL) or len(replies) < 2 or replies[1].code >= 300:
        return await first_refusal(session, envelope, replies)
    if len(replies) < len(envelope.phases):
        raise session.unsent(Phase.RCPT)
    for recipient, raw in zip(envelope.recipients[1:], replies[2:], strict=True):
        waits = _sort_copy(session, envelope, copies, recipient, raw)
        if waits is not None:
            session.reset_due = True
            return waits
    return await _data(session) or await send_body(session, envelope, no_ride if copies.rest else ride)


def _sort_copy(
    session: Session, envelope: Envelope, copies: Copies, recipient: str, raw: Raw
) -> Outcome | None:
    """Put one copy where it belongs; an outcome when the whole message has to wait for it."""
    if good(raw, Phase.RCPT):
        return None
    if _too_many(raw):
        copies.rest.append(recipient)
        return None
    outcome = refusal(session, raw, Phase.RCPT)
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
    return refusal(session, replies[0], Phase.DATA)


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
    if not good(replies[0], Phase.MAIL):
        return _reply(replies[0], Phase.MAIL)
    for recipient, raw in zip(envelope.recipients, replies[1:], strict=True):
        if _too_many(raw):
            copies.rest.append(recipient)
        elif not good(raw, Phase.RCPT):
            copies.refused.append((recipient, _reply(raw, Phase.RCPT)))
    if not any(good(raw, Phase.RCPT) for raw in replies[1:]):
        session.reset_due = True
        return _reply(replies[1], Phase.RCPT)
    outcome = await _data(session) or await transmit(session, envelope, no_ride)
    return None if isinstance(outcome, Accepted) else outcome.reply


def _reply(raw: Raw, phase: Phase) -> Reply:
    return verdict(raw, phase).reply
