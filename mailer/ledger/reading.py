"""Campaigns as the ledger holds them, read inside somebody's transaction."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from mailer.errors import InputError
from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.ledger.schema import ROWS, campaign, tally

_TOTAL = select(ROWS).where(tally.c.campaign_id == campaign.c.id).scalar_subquery()

_COLUMNS = [_TOTAL if name == "total" else campaign.c[name] for name in Campaign.__dataclass_fields__]


def campaigns_where(connection: Connection, *conditions: ColumnElement[bool]) -> list[Campaign]:
    """Oldest first."""
    statement = select(*_COLUMNS).where(*conditions).order_by(campaign.c.id)
    return [_campaign(row) for row in connection.execute(statement)]


def campaign_by_id(connection: Connection, campaign_id: int) -> Campaign:
    """Raises InputError when there is none."""
    found = campaigns_where(connection, campaign.c.id == campaign_id)
    if not found:
        raise InputError(f"no campaign number {campaign_id} in this ledger")
    return found[0]


def _campaign(row: Any) -> Campaign:
    values = dict(zip(Campaign.__dataclass_fields__, row, strict=True))
    values["spec"] = json.loads(values["spec"])
    values["runner"] = Runner(values["runner"])
    values["state"] = CampaignState(values["state"])
    return Campaign(**values)
