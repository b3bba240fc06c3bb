"""A batch for backends that handle one message at a time: order, concurrency, and what a fault means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mailer import crash
from mailer.errors import BackendUnusable
from mailer.message import (
    Blocked,
    Deferred,
    Fenced,
    Mark,
    MarksTogether,
    Outcome,
    Outgoing,
    Phase,
    Rejected,
    Reply,
)

log = logging.getLogger(__name__)


async def one_by_one(
    batch: Sequence[Outgoing], send: Callable[[Outgoing], Awaitable[Outcome]], concurrency: asyncio.Semaphore
) -> list[Outcome]:
    """Outcomes in the order of ``batch``.

    ``send`` may raise BackendUnusable for a message it did not send. When it did so for all of them, so
    does this; otherwise those messages are Deferred (a passing fault) or Blocked (a lasting one). Any
    other exception is raised once nothing of the batch is under way any more.
    """

    async def in_turn(message: Outgoing) -> Outcome:
        async with concurrency:
            return await send(message)

    results = await asyncio.gather(*map(in_turn, batch), return_exceptions=True)
    outcomes: list[Outcome] = []
    faults: list[BackendUnusable] = []
    for result in results:
        if isinstance(result, BackendUnusable):
            faults.append(result)
            outcomes.append(unsent(result))
        elif isinstance(result, BaseException):
            raise result
        else:
            outcomes.append(result)
    if faults and len(faults) == len(outcomes):
        raise faults[0]
    return outcomes


def unsent(fault: BackendUnusable) -> Outcome:
    """For a message of a batch of which others were sent."""
    reply = Reply(fault.reason[:500], phase=Phase.REQUEST, reason="The backend cannot be used.")
    return Blocked(reply) if fault.lasting else Deferred(reply)


async def unmarked(message: Outgoing, mark: Mark) -> Fenced | Deferred | None:
    """Ask for the mark. None: the message may go. A mark that fails holds up its own message only."""
    crash.point("before_mark")
    try:
        may_go = await mark(message)
    except Exception as error:  # noqa: BLE001 - whatever it is, this message was not sent
        return _unrecorded(error)
    crash.point("after_mark")
    return None if may_go else Fenced()


async def all_unmarked(messages: Sequence[Outgoing], mark: Mark) -> Sequence[Fenced | Deferred | None]:
    """As ``unmarked`` for each, at once, so that one commit holds them."""
    if not isinstance(mark, MarksTogether):
        return await asyncio.gather(*(unmarked(message, mark) for message in messages))
    for _ in messages:
        crash.point("before_mark")
    try:
        answers = await mark.together(messages)
    except Exception as error:  # noqa: BLE001 - as above
        return [_unrecorded(error)] * len(messages)
    for _ in messages:
        crash.point("after_mark")
    return [None if may_go else Fenced() for may_go in answers]


def _unrecorded(error: Exception) -> Deferred:
    log.debug("mark failed: %s", type(error).__name__)
    return Deferred(Reply("not sent", phase=Phase.REQUEST, reason="The ledger could not record the sending."))


def too_large(message: Outgoing, limit: int | None) -> Rejected | None:
    """The refusal for a message over the backend's limit."""
    if limit is None or not message.exceeds(limit):
        return None
    text = f"{len(message.data)} octets, the limit is {limit}"
    return Rejected(
        Reply(
            text,
            enhanced="5.3.4",
            phase=Phase.REQUEST,
            reason="The message is larger than the backend takes.",
        )
    )
