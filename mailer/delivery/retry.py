"""When a message that was refused for now is tried again: data, and one pure function over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from mailer.message import Deferred

HOUR = 3600.0
#: No message is tried for longer, whatever a campaign says.
LONGEST_BUDGET = 72 * HOUR


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """After attempt n the wait is drawn evenly from ``floor`` up to the n-th ceiling (full jitter).

    The last ceiling repeats. The budget is time, not attempts: it runs from the first try, and time
    in which the campaign was paused or its backend blocked is not counted.
    """

    ceilings: tuple[float, ...]
    floor: float
    budget: float = 24 * HOUR


#: Most greylisting lets a message pass after one to five minutes, so the first waits are short;
#: then doubling up to four hours, as large mail servers do (Postfix: at most 4000 s, Exim: 6 h).
BULK = RetryPolicy(ceilings=(120, 600, 1800, 3600, 7200, 14400), floor=15)
#: Somebody waits for this mail.
TRANSACTIONAL = RetryPolicy(ceilings=(60, 180, 300, 900, 1800, 3600), floor=5)

POLICIES: Mapping[str, RetryPolicy] = {"bulk": BULK, "transactional": TRANSACTIONAL}


def policy_for(stream: str, wishes: Mapping[str, Any] | None = None) -> RetryPolicy:
    """The policy of a stream, changed by a campaign's budget_seconds, floor_seconds and ceilings."""
    policy = POLICIES.get(stream, BULK)
    wishes = wishes or {}
    return replace(
        policy,
        ceilings=tuple(float(seconds) for seconds in wishes.get("ceilings") or policy.ceilings),
        floor=float(wishes.get("floor_seconds", policy.floor)),
        budget=min(float(wishes.get("budget_seconds", policy.budget)), LONGEST_BUDGET),
    )


def next_due(
    outcome: Deferred,
    attempt: int,
    *,
    first_tried_at: float,
    blocked_seconds: float,
    now: float,
    rng: Random,
    policy: RetryPolicy,
) -> float | None:
    """When to try again after attempt number ``attempt`` (from 1); None: the budget is spent.

    What the other side asked for (``retry_after``) is a lower bound. A wait that would pass the end of
    the budget is cut to one last try at its end.
    """
    deadline = first_tried_at + blocked_seconds + policy.budget
    asked = outcome.retry_after or 0.0
    if now >= deadline or now + asked > deadline:
        return None
    ceiling = policy.ceilings[min(attempt, len(policy.ceilings)) - 1]
    wait = rng.uniform(min(policy.floor, ceiling), ceiling)
    if asked >= wait:
        # Many rows hear the same Retry-After; they must not all come back in the same second.
        wait = asked * rng.uniform(1.0, 1.2)
    return min(now + wait, deadline)
