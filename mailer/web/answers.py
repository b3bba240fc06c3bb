"""What the API says of a message, as JSON: the values of ``models.StatusOut`` and ``models.ListedOut``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mailer.ledger.listing import Listed
from mailer.outbox.contract import Status, Try


def status(one: Status) -> dict[str, Any]:
    about = {
        name: getattr(one, name)
        for name in ("id", "state", "to", "reason", "outcome", "message_id", "reference", "template")
    }
    return about | {
        "due_at": _time(one.due_at),
        "tags": list(one.tags),
        "metadata": dict(one.metadata),
        "attempts": [_try(attempt) for attempt in one.attempts],
    }


def _try(one: Try) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in one.__dataclass_fields__}
    return values | {"at": _time(one.at)}


def listed(one: Listed) -> dict[str, Any]:
    settled_at = None if one.settled_at is None else datetime.fromtimestamp(one.settled_at, UTC)
    return {
        "id": one.public,
        "state": one.state,
        "to": one.address,
        "outcome": one.outcome,
        "settled_at": _time(settled_at),
        "template": one.template,
        "tags": list(one.tags),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
