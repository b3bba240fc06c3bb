"""From what a backend says to what the ledger is told: pure, one function per question."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random

from mailer.delivery.retry import RetryPolicy, next_due
from mailer.ledger.contract import Row, Settlement
from mailer.message import Accepted, Deferred, Outcome, Phase, Rejected, Reply, State, Unknown

#: Of the time for which a provider knows an idempotency key: its clock is not ours.
SAFE_SHARE = 0.9
#: A backend that failed in one of these phases, without a word, does not let anybody in.
SHUT = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})
#: ... and in one of these the message is certainly not submitted.
_UNSUBMITTED = SHUT | {Phase.MAIL, Phase.RCPT, Phase.DATA}


@dataclass(frozen=True, slots=True)
class Via:
    """The backend of an attempt, and for how many seconds it knows an idempotency key (0: not at all)."""

    backend: str
    knows_keys: float = 0.0

    @property
    def window(self) -> float:
        """Seconds from the first try in which a message may safely be sent again."""
        return SAFE_SHARE * self.knows_keys


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a verdict depends on besides the outcome; the same for a whole slice."""

    fence: int
    policy: RetryPolicy
    resend_unknown: bool  # on_unknown = "retry"
    blocked_seconds: float


def verdict(
    row: Row,
    outcome: Accepted | Deferred | Rejected | Unknown,
    via: Via,
    around: Circumstances,
    *,
    now: float,
    rng: Random,
) -> Settlement:
    """What became of this row. The attempt is spent."""
    match outcome:
        case Accepted():
            said = _said(row, via, around, State.ACCEPTED, outcome.reply)
            said.reference = outcome.reference
            said.copies = _copies(outcome)
            return said
        case Rejected():
            said = _said(row, via, around, State.REJECTED, outcome.reply)
            said.suppress = outcome.suppress
            return said
        case Deferred() if row.unsure:  # that it is put off says nothing about the try before
            return _unsure(row, outcome, via, around, now=now, rng=rng)
        case Deferred():
            return _later(row, outcome, State.FAILED, via, around, now=now, rng=rng)
        case Unknown() if around.resend_unknown or via.knows_keys:
            return _unsure(row, Deferred(outcome.reply), via, around, now=now, rng=rng)
        case Unknown():
            return _said(row, via, around, State.UNKNOWN, outcome.reply)


def may_be_resent(row: Row, via: Via, around: Circumstances, now: float) -> bool:
    """Whether a row that may have been sent is not sent twice by this attempt, or may be."""
    if not row.unsure or around.resend_unknown:
        return True
    first = now if row.first_tried_at is None else row.first_tried_at
    return row.backend == via.backend and now <= first + via.window


#: Why a row in doubt is not tried again.
NO_KEY = "It may have been sent, and cannot be sent again under the same idempotency key."
TOO_LATE = "It may have been sent, and its time is over."


def held(row: Row, fence: int, reason: str = NO_KEY) -> Settlement:
    """It may have been sent, and is not sent again."""
    return Settlement(
        row.id,
        fence,
        State.UNKNOWN,
        spent=False,
        phase=Phase.ANSWER,
        reason=reason,
        backend=row.backend,
    )


def is_shut(outcome: Outcome) -> bool:
    """The backend let nobody in: the fault is not this message's."""
    return isinstance(outcome, Deferred) and outcome.reply.code is None and outcome.reply.phase in SHUT


def is_unsubmitted(outcome: Outcome) -> bool:
    """The connection failed, and nothing of the message had left: another backend may take it."""
    if not isinstance(outcome, Deferred):
        return False
    return outcome.reply.code is None and outcome.reply.phase in _UNSUBMITTED


def shows_life(outcome: Outcome) -> bool:
    """Somebody took this message up and answered: the backend works."""
    if isinstance(outcome, Deferred):
        reply = outcome.reply
        return reply.code not in (None, 421) and reply.phase in (
            Phase.MAIL,
            Phase.RCPT,
            Phase.DATA,
            Phase.DOT,
        )
    return isinstance(outcome, Accepted | Rejected)


def given_back(row: Row, fence: int, due_at: float | None) -> Settlement:
    """Unsent through no fault of the recipient: nothing is spent. ``due_at`` None: due at once."""
    state = State.DEFERRED if row.attempts else State.PENDING
    return Settlement(id=row.id, fence=fence, state=state, due_at=due_at, spent=False)


def failed(row: Row, fence: int, reason: str, phase: str | None = None) -> Settlement:
    """Cannot be sent, and trying again would change nothing. What is in doubt stays so."""
    state = State.UNKNOWN if row.unsure else State.FAILED
    return Settlement(id=row.id, fence=fence, state=state, phase=phase, reason=reason)


def _unsure(
    row: Row, outcome: Deferred, via: Via, around: Circumstances, *, now: float, rng: Random
) -> Settlement:
    """To be sent again under the same key, or because a person wants it; until then it stays in doubt."""
    limits = around if around.resend_unknown else _within(via.window, around)
    said = _later(row, outcome, State.UNKNOWN, via, limits, now=now, rng=rng)
    if said.state is State.DEFERRED:
        said.phase = Phase.ANSWER
    return said


def _within(seconds: float, around: Circumstances) -> Circumstances:
    """No try after that, and no time that does not count: the provider's clock goes on."""
    budget = min(seconds, around.policy.budget)
    return replace(around, policy=replace(around.policy, budget=budget), blocked_seconds=0.0)


def _later(
    row: Row, outcome: Deferred, exhausted: State, via: Via, around: Circumstances, *, now: float, rng: Random
) -> Settlement:
    """Try again when due, or end in ``exhausted`` when the budget is spent."""
    first = now if row.first_tried_at is None else row.first_tried_at
    due = next_due(
        outcome,
        row.attempts + 1,
        first_tried_at=first,
        blocked_seconds=around.blocked_seconds,
        now=now,
        rng=rng,
        policy=around.policy,
    )
    if due is None:
        return _said(row, via, around, exhausted, _out_of_time(outcome.reply, around.policy))
    said = _said(row, via, around, State.DEFERRED, outcome.reply)
    said.due_at = due
    return said


def _out_of_time(reply: Reply, policy: RetryPolicy) -> Reply:
    spent = f"Not accepted within {policy.budget / 3600:g} h of trying"
    return replace(reply, reason=f"{spent}: {reply.reason}" if reply.reason else f"{spent}.")


def _said(row: Row, via: Via, around: Circumstances, state: State, reply: Reply) -> Settlement:
    return Settlement(
        id=row.id,
        fence=around.fence,
        state=state,
        code=reply.code,
        enhanced=reply.enhanced,
        phase=reply.phase,
        reply=reply.text or None,
        reason=reply.reason or None,
        backend=via.backend,
    )


def _copies(outcome: Accepted) -> str | None:
    if not outcome.refused_copies:
        return None
    return json.dumps(
        [
            {"recipient": who, "code": reply.code, "enhanced": reply.enhanced, "reply": reply.text}
            for who, reply in outcome.refused_copies
        ],
        ensure_ascii=False,
    )
