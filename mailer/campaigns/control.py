"""A campaign under way: where it stands, and the commands that change that, exact to the row (I5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailer.errors import CampaignError
from mailer.ledger.contract import Campaign, CampaignState
from mailer.ledger.ledger import Ledger
from mailer.message import State

#: What people report later, beside the state; others are counted too.
OUTCOMES = ("delivered", "bounced", "complained")


@dataclass(frozen=True, slots=True)
class Change:
    """What a command did. ``in_flight`` messages were on their way at that moment and will finish."""

    campaign: Campaign
    in_flight: int = 0
    rows: int = 0  # that changed their state


def status(ledger: Ledger, campaign: Campaign) -> dict[str, Any]:
    """The status object: fixed for programs that drive us. Times are ISO 8601 in UTC, or None."""
    counts = ledger.campaigns.counts(campaign.id)
    return {
        "id": campaign.slug,
        "name": campaign.name,
        "state": str(campaign.state),
        "total": campaign.total,
        "counts": {str(state): counts.states.get(state, 0) for state in State},
        "outcomes": {**dict.fromkeys(OUTCOMES, 0), **counts.outcomes},
        "invalid_rows": campaign.invalid_rows,
        "started_at": _iso(campaign.started_at),
        "finished_at": _iso(campaign.finished_at),
    }


def find(ledger: Ledger, reference: str) -> Campaign:
    """By id, by a unique beginning of it, or by the path of its file (then the latest one opened from it).

    Raises InputError that names the candidates.
    """
    path = Path(reference)
    if path.suffix != ".toml" and not path.is_file():
        return ledger.campaigns.get(reference)
    wanted = str(path.absolute())
    opened = [campaign for campaign in ledger.campaigns.list() if campaign.spec.get("file") == wanted]
    if not opened:
        raise CampaignError(
            "no campaign was opened from this file", reference, hint="`mailer status` lists all campaigns."
        )
    return opened[-1]


def pause(ledger: Ledger, campaign: Campaign, reason: str = "paused by a person") -> Change:
    """After this nothing new starts. Raises StateConflict."""
    ledger.campaigns.pause(campaign.id, reason)
    return _changed(ledger, campaign)


def resume(ledger: Ledger, campaign: Campaign) -> Change:
    """Raises StateConflict."""
    ledger.campaigns.resume(campaign.id)
    return _changed(ledger, campaign)


def cancel(ledger: Ledger, campaign: Campaign) -> Change:
    """Waiting rows are never sent; ``rows`` says how many those are. Raises StateConflict."""
    before = ledger.campaigns.counts(campaign.id).states.get(State.CANCELLED, 0)
    ledger.campaigns.cancel(campaign.id)
    after = ledger.campaigns.counts(campaign.id).states.get(State.CANCELLED, 0)
    return _changed(ledger, campaign, after - before)


def retry(ledger: Ledger, campaign: Campaign, states: Collection[State]) -> Change:
    """Rows in these states wait again, with a fresh retry budget. Raises StateConflict."""
    if campaign.state is CampaignState.OPENING:
        raise CampaignError(f"{campaign.slug} is not opened yet; run the same `send` again")
    return _changed(ledger, campaign, ledger.campaigns.retry(campaign.id, states))


def _changed(ledger: Ledger, campaign: Campaign, rows: int = 0) -> Change:
    current = ledger.campaigns.get(campaign.slug)
    return Change(current, ledger.campaigns.in_flight(campaign.id), rows)


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
