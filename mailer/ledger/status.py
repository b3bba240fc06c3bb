"""The status object: where a campaign stands, as programs that drive us read it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mailer.ledger.contract import Campaign
from mailer.ledger.ledger import Ledger
from mailer.message import State

#: What people report later, beside the state; others are counted too.
OUTCOMES = ("delivered", "bounced", "complained")


def status(ledger: Ledger, campaign: Campaign) -> dict[str, Any]:
    """Its keys are fixed. Times are ISO 8601 in UTC, or None."""
    counts = ledger.campaigns.counts(campaign.id)
    return {
        "id": campaign.slug,
        "name": campaign.name,
        "state": str(campaign.state),
        "total": campaign.total,
        "counts": {str(state): counts.states.get(state, 0) for state in State},
        "outcomes": {**dict.fromkeys(OUTCOMES, 0), **counts.outcomes},
        "invalid_rows": campaign.invalid_rows,
        "started_at": iso(campaign.started_at),
        "finished_at": iso(campaign.finished_at),
    }


def iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
