"""A campaign under way: where it stands, and the commands that change that, exact to the row (I5)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mailer.campaigns.results import message_id
from mailer.errors import CampaignError
from mailer.ledger.contract import Attempt, Campaign, CampaignState
from mailer.ledger.ledger import Ledger
from mailer.ledger.status import iso, status
from mailer.message import State

__all__ = [
    "Change",
    "cancel",
    "find",
    "history",
    "pause",
    "resume",
    "retry",
    "status",
    "watch",
]

_AT_REST = frozenset({CampaignState.FINISHED, CampaignState.CANCELLED, CampaignState.PAUSED})


@dataclass(frozen=True, slots=True)
class Change:
    """What a command did. ``in_flight`` messages were on their way at that moment and will finish."""

    campaign: Campaign
    in_flight: int = 0
    rows: int = 0  # that changed their state
    lifted: int = 0  # addresses that are no longer suppressed


def find(ledger: Ledger, reference: str) -> Campaign:
    """By id, by a unique beginning of it, by the number that logs give, or by the path of its file: then the
    latest one opened from it, and one in test mode only where there is no other.

    Raises InputError that names the candidates.
    """
    path = Path(reference)
    if path.suffix != ".toml" and not path.is_file():
        return ledger.campaigns.get(reference)
    wanted = str(path.resolve())
    opened = [campaign for campaign in ledger.campaigns.list() if campaign.spec.get("file") == wanted]
    if not opened:
        raise CampaignError(
            "no campaign was opened from this file", reference, hint="`mailer status` lists all campaigns."
        )
    return ([one for one in opened if not one.spec.get("sandbox")] or opened)[-1]


def pause(ledger: Ledger, campaign: Campaign, reason: str = "paused by a person") -> Change:
    """After this nothing new starts. Raises StateConflict."""
    ledger.campaigns.pause(campaign.id, reason, by_person=True)
    return _changed(ledger, campaign)


def resume(ledger: Ledger, campaign: Campaign) -> Change:
    """Raises StateConflict."""
    ledger.campaigns.resume(campaign.id)
    return _changed(ledger, campaign)


def cancel(ledger: Ledger, campaign: Campaign) -> Change:
    """What is not on its way is never sent; ``rows`` says how many those are. Raises StateConflict."""
    before = ledger.campaigns.counts(campaign.id).states[State.CANCELLED]
    ledger.campaigns.cancel(campaign.id)
    after = ledger.campaigns.counts(campaign.id).states
    # What a worker holds and has not marked is cancelled as well, when it is given back.
    return _changed(ledger, campaign, after[State.CANCELLED] - before + after[State.CLAIMED])


def retry(ledger: Ledger, campaign: Campaign, states: Collection[State]) -> Change:
    """Rows in these states wait again, with a fresh retry budget. Raises StateConflict."""
    again = ledger.campaigns.retry(campaign.id, states)
    return replace(_changed(ledger, campaign, again.rows), lifted=again.lifted)


def watch(
    ledger: Ledger,
    campaign: Campaign,
    tell: Callable[[dict[str, Any]], None],
    *,
    seconds: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Campaign:
    """``tell`` the status now and again until the campaign is over, or paused by anybody."""
    while True:
        current = ledger.campaigns.by_id(campaign.id)
        tell(status(ledger, current))
        if current.state in _AT_REST:
            return current
        sleep(seconds)


def history(ledger: Ledger, address: str) -> Iterator[dict[str, Any]]:
    """Everything sent to one address and what became of it, as JSON-able objects, oldest first."""
    for campaign, result, attempts in ledger.results.find(address):
        yield {
            "campaign": campaign.slug,
            "name": campaign.name,
            "address": result.address,
            "line": result.line,
            "state": str(result.state),
            "attempts": [_attempt(attempt) for attempt in attempts],
            "code": result.code,
            "reply": result.reply,
            "reason": result.reason,
            "message_id": message_id(campaign, result),
            "backend": result.backend,
            "reference": result.reference,
            "at": iso(result.settled_at),
            "outcome": result.outcome,
            "refused_copies": json.loads(result.copies or "[]"),
        }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "at": iso(attempt.at),
        "state": str(attempt.state),
        "phase": attempt.phase,
        "code": attempt.code,
        "reply": attempt.reply,
        "backend": attempt.backend,
    }


def _changed(ledger: Ledger, campaign: Campaign, rows: int = 0) -> Change:
    flying = ledger.campaigns.counts(campaign.id).states[State.SENDING]
    return Change(ledger.campaigns.by_id(campaign.id), flying, rows)
