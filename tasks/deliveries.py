"""What may be asked of a worker."""

from __future__ import annotations

from tasks.app import app


@app.task(name="mailer.deliver", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def deliver(message_ids: list[int]) -> None:
    """Deliver these rows of one campaign. Safe to run twice, cheap to run late."""
    app.runtime.deliver(message_ids)
