"""From what a backend says to what the ledger is told: pure, one function per question."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random

from mailer.delivery.retry import RetryPolicy, next_due
from mailer.ledger.contract import Row, Settlement
from mailer.message import Accepted, Deferred, Rejected, Reply, State, Unknown


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a verdict depends on besides the outcome; the same for a whole slice."""

    fence: int
    backend: str
    policy: RetryPolicy
    resend_unknown: bool  # on_unknown = "retry"
    blocked_seconds: float


def verdict(
    row: Row,
    outcome: Accepted | Deferred | Rejected | Unknown,
    around: Circumstances,
    now: float,
    rng: Random,
) -> Settlement:
    """What became of this row. The attempt is spent."""
    match outcome:
        case Accepted():
            said = _said(row, around, State.ACCEPTED, outcome.reply)
            said.reference = outcome.reference
            said.copies = _copies(outcome)
            return said
        case Rejected():
            said = _said(row, around, State.REJECTED, outcome.reply)
            said.suppress = outcome.suppress
            return said
        case Deferred():
            return _later(row, outcome, State.FAILED, around, now=now, rng=rng)
        case Unknown() if around.resend_unknown:
            return _later(row, Deferred(outcome.reply), State.UNKNOWN, around, now=now, rng=rng)
        case Unknown():
            return _said(row, around, State.UNKNOWN, outcome.reply)


def given_back(row: Row, fence: int, due_at: float | None) -> Settlement:
    """Unsent through no fault of the recipient: nothing is spent. ``due_at`` None: due at once."""
    state = State.DEFERRED if row.attempts else State.PENDING
    return Settlement(id=row.id, fence=fence, state=state, due_at=due_at, spent=False)


def failed(row: Row, fence: int, reason: str, phase: str | None = None) -> Settlement:
    """Cannot be sent, and trying again would change nothing."""
    return Settlement(id=row.id, fence=fence, state=State.FAILED, phase=phase, reason=reason)


def _later(
    row: Row, outcome: Deferred, exhausted: State, around: Circumstances, *, now: float, rng: Random
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
        return _said(row, around, exhausted, _out_of_time(outcome.reply, around.policy))
    said = _said(row, around, State.DEFERRED, outcome.reply)
    said.due_at = due
    return said


def _out_of_time(reply: Reply, policy: RetryPolicy) -> Reply:
    spent = f"Not accepted within {policy.budget / 3600:g} h of trying"
    return replace(reply, reason=f"{spent}: {reply.reason}" if reply.reason else f"{spent}.")


def _said(row: Row, around: Circumstances, state: State, reply: Reply) -> Settlement:
    return Settlement(
        id=row.id,
        fence=around.fence,
        state=state,
        code=reply.code,
        enhanced=reply.enhanced,
        phase=reply.phase,
        reply=reply.text or None,
        reason=reply.reason or None,
        backend=around.backend,
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
