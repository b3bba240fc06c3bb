"""A batch for backends that handle one message at a time: order, concurrency, and what a fault means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mailer.errors import BackendUnusable
from mailer.message import Blocked, Deferred, Outcome, Outgoing, Phase, Rejected, Reply


async def one_by_one(
    batch: Sequence[Outgoing], send: Callable[[Outgoing], Awaitable[Outcome]], concurrency: asyncio.Semaphore
) -> list[Outcome]:
    """Outcomes in the order of ``batch``.

    ``send`` may raise BackendUnusable for a message it did not send. When it did so for all of them, so
    does this; otherwise those messages are Deferred (a passing fault) or Blocked (a lasting one).
    """

    async def guarded(message: Outgoing) -> Outcome | BackendUnusable:
        async with concurrency:
            try:
                return await send(message)
            except BackendUnusable as fault:
                return fault

    results = await asyncio.gather(*map(guarded, batch))
    faults = [result for result in results if isinstance(result, BackendUnusable)]
    if faults and len(faults) == len(results):
        raise faults[0]
    return [_unsent(result) if isinstance(result, BackendUnusable) else result for result in results]


def _unsent(fault: BackendUnusable) -> Outcome:
    reply = Reply(fault.reason[:500], phase=Phase.REQUEST, reason="the backend cannot be used")
    return Blocked(reply) if fault.lasting else Deferred(reply)


def too_large(message: Outgoing, limit: int | None) -> Rejected | None:
    """The refusal for a message over the backend's limit."""
    if limit is None or len(message.data) <= limit:
        return None
    text = f"{len(message.data)} octets, the limit is {limit}"
    return Rejected(Reply(text, enhanced="5.3.4", phase=Phase.REQUEST, reason="the message is too large"))
