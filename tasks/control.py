"""What a worker hears from others over the broker: that the ledger was changed, and harmless questions."""

from __future__ import annotations

from typing import Any

from celery.worker.control import Panel, control_command

from mailer.publisher import HEED

#: What ``celery inspect``, ``celery status`` and Flower ask. Nothing here changes a worker.
QUESTIONS = frozenset(
    {
        *("active", "active_queues", "clock", "ping", "registered", "reserved", "revoked", "scheduled"),
        *("dump_active", "dump_reserved", "dump_revoked", "dump_schedule", "dump_tasks", "stats"),
    }
)


@control_command(name=HEED)
def heed(state: Any, **_: Any) -> None:
    """Look at the ledger now. Lost, doubled or late it changes nothing."""
    state.app.runtime.heed()


def refuse_the_rest() -> None:
    """Whoever can write to the broker must not command the workers: stop them, starve them, add queues."""
    for name in Panel.data.keys() - QUESTIONS - {HEED}:
        Panel.data[name] = _refused


def _refused(state: Any, **_: Any) -> dict[str, str]:
    return {"error": "workers of mailer take no commands over the broker"}
