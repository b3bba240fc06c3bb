"""What a process that ran a campaign has left behind when it was killed."""

from __future__ import annotations

from contextlib import suppress

from mailer.delivery.lock import is_run, run_lock
from mailer.errors import StateConflict
from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.ledger.ledger import Ledger


def is_interrupted(ledger: Ledger, campaign: Campaign) -> bool:
    """It should be running in some process, and no process holds its lock: that one was killed."""
    if campaign.runner is not Runner.EMBEDDED or campaign.state is not CampaignState.RUNNING:
        return False
    return not is_run(ledger, campaign.id)


def take_back(ledger: Ledger, campaign: Campaign) -> None:
    """Rows that the dead process held wait again, or are unknown. Nothing changes while one runs it; workers
    do this by themselves."""
    if campaign.runner is not Runner.EMBEDDED or not ledger.campaigns.in_flight(campaign.id):
        return
    with suppress(StateConflict), run_lock(ledger, campaign.id, ()) as former:
        ledger.slices.take_back(*former)
