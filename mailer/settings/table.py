"""What every table of ``mailer.toml`` has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Frozen; a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)
