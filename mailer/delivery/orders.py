"""What a run is told, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from mailer.delivery.oversight import Care
from mailer.delivery.stop import Stop
from mailer.ledger.contract import CampaignState, Counts

#: Why a campaign is paused after ``--limit N``.
LIMIT_REACHED = "the number of recipients asked for with --limit was reached"


class Reason(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"
    WAITING = "waiting"  # only rows are left that are due later than ``wait``
    PAUSED = "paused"  # by a person, or by a fault that a person must mend
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LIMIT = "limit"


#: A campaign in one of these states is over for this run.
ENDED = {
    CampaignState.FINISHED: Reason.FINISHED,
    CampaignState.PAUSED: Reason.PAUSED,
    CampaignState.CANCELLED: Reason.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class RunResult:
    """``detail``: why it is paused or its backend rests, in words. ``next_due``: of the first waiting row."""

    reason: Reason
    counts: Counts
    detail: str | None = None
    next_due: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What to run and when to end. ``on_progress`` gets the counts and the recipients settled per second,
    four times a second."""

    campaign_id: int
    limit: int | None  # so many rows are tried, then it is paused
    wait: float | None  # it ends when what remains is due more seconds than this after the last try
    on_progress: Callable[[Counts, float], None] | None
    stop: Stop
    recipients_per_task: int
    care: Care = field(default_factory=Care)
