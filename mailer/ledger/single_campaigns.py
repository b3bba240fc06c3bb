"""Campaigns that stay open: rows come one by one while they run, and they never finish."""

from __future__ import annotations

import json

from sqlalchemy import literal_column

from mailer.errors import StateConflict
from mailer.ledger.contract import Campaign, CampaignState, NewCampaign
from mailer.ledger.reading import campaigns_where
from mailer.ledger.schema import campaign, serial, tally
from mailer.ledger.transaction import Transaction
from mailer.message import State

#: In these a campaign takes rows.
LIVE_STATES = (CampaignState.RUNNING, CampaignState.PAUSED)
LIVE = campaign.c.state.in_([literal_column(f"'{state.value}'") for state in LIVE_STATES])

_CAMPAIGN = (*NewCampaign.__dataclass_fields__, "state", "created_at", "started_at")


def found_open(tx: Transaction, digest: str) -> Campaign | None:
    found = campaigns_where(tx.connection, campaign.c.digest == digest, LIVE)
    return found[-1] if found else None


def made(tx: Transaction, new: NewCampaign) -> Campaign:
    """Under its slug, or with a number behind it when one of that name was cancelled."""
    values = {name: getattr(new, name) for name in new.__dataclass_fields__}
    values |= {"spec": json.dumps(dict(new.spec)), "runner": new.runner.value}
    values |= {"state": CampaignState.RUNNING.value, "created_at": tx.now, "started_at": tx.now}
    slug = new.slug
    for number in range(2, 1000):
        row = tuple((values | {"slug": slug})[name] for name in _CAMPAIGN)
        tx.dialect.insert_new(tx.cursor, campaign.name, _CAMPAIGN, [row])
        found = found_open(tx, new.digest)  # it, or the one that another process made in this moment
        if found is not None:
            states = [(found.id, state.value, slot, 0) for state in State for slot in range(tx.dialect.slots)]
            tx.dialect.insert_new(tx.cursor, tally.name, ("campaign_id", "state", "slot", "n"), states)
            tx.dialect.insert_new(tx.cursor, serial.name, ("campaign_id", "last"), [(found.id, 0)])
            return found
        slug = f"{new.slug}-{number}"
    raise StateConflict(f"campaigns named {new.slug!r} were cancelled too often")
