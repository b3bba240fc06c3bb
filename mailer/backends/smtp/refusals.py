"""What a refusal before the body means: for its message, and for the session."""

from __future__ import annotations

from collections.abc import Sequence

from mailer.backends.smtp.replies import Verdict, classify
from mailer.backends.smtp.session import Envelope, Session, Unsent
from mailer.backends.smtp.wire import Raw
from mailer.message import Deferred, Outcome, Phase


def verdict(raw: Raw, phase: Phase) -> Verdict:
    """What this reply means for the message, as ``replies.classify`` says."""
    return classify(raw.code, raw.text.decode(errors="replace"), phase)


def good(raw: Raw, phase: Phase) -> bool:
    """To DATA the only one is 354."""
    return raw.code == 354 if phase is Phase.DATA else 200 <= raw.code < 300


async def first_refusal(session: Session, envelope: Envelope, replies: Sequence[Raw]) -> Outcome:
    """Of MAIL, RCPT and DATA the first refusal decides; the others only have to make sense beside it."""
    phases = envelope.phases
    place = next((i for i, raw in enumerate(replies) if not good(raw, phases[i])), len(replies))
    if place == len(replies):
        raise session.unsent(phases[place] if place < len(phases) else phases[-1])
    outcome = refusal(session, replies[place], phases[place])
    later = [raw.code for raw in replies[place + 1 :]]
    alone = phases[place] is Phase.MAIL or len(envelope.recipients) == 1
    if alone and any(code < 300 for code in later):  # a reply too many or too few: whose refusal is this?
        raise session.unsent(phases[place])
    if later and later[-1] == 354:
        await _empty_message(session)
    elif phases[place] is not Phase.MAIL:
        session.reset_due = True
    return outcome


def refusal(session: Session, raw: Raw, phase: Phase) -> Verdict:
    """A 4xx or 5xx. Raises Unsent when it speaks of the connection rather than of this message."""
    if raw.code < 400:
        raise session.unsent(phase)
    outcome = verdict(raw, phase)
    if ends_session(raw, outcome):
        if raw.code != 421:
            session.doubt()
        raise Unsent(outcome, again=True)
    return outcome


def ends_session(raw: Raw, outcome: Outcome) -> bool:
    """421 closes the connection; a server that does not understand our commands is out of step."""
    return raw.code == 421 or (raw.code in (500, 502, 503) and isinstance(outcome, Deferred))


async def _empty_message(session: Session) -> None:
    """354 although every RCPT was refused: RFC 2920 section 3.1 wants a lone dot."""
    session.wire.write(b".\r\n")
    if not await session.read_dot():
        session.broken = True
