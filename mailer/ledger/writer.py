"""Group commit: one thread per process writes what all tasks of the event loop have asked for.

It commits whatever has queued as soon as the previous commit returns. No timer: when little happens a
write is on disk at once, and when much happens many share one flush of the disk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from mailer.errors import LedgerBusy, LedgerError, LedgerInterrupted
from mailer.ledger.contract import Settlement, Slice
from mailer.ledger.ledger import Ledger
from mailer.ledger.wishes import Ask, campaigns, carry_out, first, note

log = logging.getLogger(__name__)

T = TypeVar("T")

#: In one transaction. More would let the next mark wait for longer than a flush takes.
MOST_AT_ONCE = 500


class GroupCommit:
    """The ledger for one event loop. An answer comes when the commit that holds it is durable.

    What fails raises LedgerError for its own caller alone: when a common transaction fails, each wish is
    tried in one of its own. Wishes are answered in order, except that ``run`` comes after all claims, marks
    and settlements that were there with it. What the tasks of one turn of the loop ask for goes over to the
    thread at once, so that it is woken once and has it all.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asks: SimpleQueue[list[Ask] | None] = SimpleQueue()
        self._turn: list[Ask] = []  # asked for in this turn of the loop
        self._soon: Ask | None = None  # those of them that are settled and that nobody waits for
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    async def claim(self, ids: Sequence[int], worker: str, lease_seconds: float) -> Slice:
        return cast("Slice", await self._ask("claim", (ids, worker, lease_seconds)))

    async def mark(self, id_: int, fence: int) -> bool:
        """True, durably: the body may go out. False: it must not."""
        return cast("bool", (await self._ask("mark", [(id_, fence)]))[0])

    async def mark_all(self, marks: Sequence[tuple[int, int]]) -> Sequence[bool]:
        """As ``mark`` for each, in one commit. What cannot be written is False; raises when nothing can."""
        return cast("Sequence[bool]", await self._ask("mark", marks))

    async def settle(self, settlement: Settlement) -> bool:
        return cast("bool", (await self._ask("settle", [settlement]))[0])

    def settle_soon(self, settlement: Settlement) -> asyncio.Future[Any]:
        """As ``settle``; nobody has to wait. All that are settled in this turn of the loop have the same
        future, so shield it; it fails when none of them could be written. A failure that nobody looks at
        shows in the next ``run`` or ``claim``, which then fails too: the disk is the same."""
        soon = self._soon
        if soon is not None:
            soon.what.append(settlement)
            return soon.future
        future = self._ask("settle", [settlement])
        future.add_done_callback(_looked_at)
        if self._turn:
            self._soon = self._turn[-1]
        return future

    async def run(self, function: Callable[[Ledger], T]) -> T:
        """Call it on the ledger's thread, between commits; what it wrote is durable when this returns. It is
        called again when the connection broke, so it must not mind that."""
        return cast("T", await self._ask("run", function))

    async def close(self) -> None:
        """Finish what was asked for, end the thread, close the ledger. Later calls raise LedgerError."""
        if not self._closed:
            self._hand_in()
            self._closed = True
            self._asks.put(None)
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        self._ledger.close()

    def _ask(self, kind: str, what: Any) -> asyncio.Future[Any]:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._closed:
            future.set_exception(LedgerError("the ledger is closed: this process is ending"))
        else:
            if not self._turn:
                loop.call_soon(self._hand_in)
            self._turn.append(Ask(kind, what, future))
        return future

    def _hand_in(self) -> None:
        if self._turn:
            asks, self._turn, self._soon = self._turn, [], None
            self._asks.put(asks)

    # On the ledger's thread.

    def _work(self) -> None:
        more = True
        while more:
            asks, more = self._next()
            together = [ask for ask in asks if ask.kind != "run"]
            if together:
                self._commit(together)
                self._answer(together)
            for ask in asks:
                if ask.kind == "run":
                    self._run(ask)
                    self._answer([ask])

    def _next(self) -> tuple[list[Ask], bool]:
        """Wait for a wish, and take all that are there; False after the last."""
        asks: list[Ask] = []
        turn = self._asks.get()
        while turn is not None:
            asks += turn
            if len(asks) >= MOST_AT_ONCE:
                return asks, True
            try:
                turn = self._asks.get_nowait()
            except Empty:
                return asks, True
        return asks, False

    def _commit(self, asks: Sequence[Ask]) -> None:
        try:
            self._once_more(lambda: self._together(asks))
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            if isinstance(error, LedgerBusy) or (len(asks) == 1 and not asks[0].several):
                note(asks, [error] * len(asks))
            elif len(asks) > 1:
                self._one_by_one(asks)
            else:
                self._apart(asks[0])

    def _one_by_one(self, asks: Sequence[Ask]) -> None:
        for at, ask in enumerate(asks):
            self._commit([ask])
            if isinstance(ask.answer, LedgerBusy):  # the others would wait as long, one after the other
                note(asks[at:], [ask.answer] * len(asks[at:]))
                return

    def _apart(self, ask: Ask) -> None:
        """What one of several cannot have written must not keep the others from it."""
        singles = [Ask(ask.kind, [one], ask.future) for one in ask.what]
        self._one_by_one(singles)
        failed = [single for single in singles if isinstance(single.answer, BaseException)]
        for single in failed:  # the error may quote what a server said
            log.error("message %d: %s not written: %s", first(single), ask.kind, type(single.answer).__name__)
        written = [single not in failed and single.answer[0] for single in singles]
        ask.answer = failed[0].answer if len(failed) == len(singles) else written

    def _together(self, asks: Sequence[Ask]) -> None:
        shared = {id_ for ask in asks for id_ in campaigns(ask)}
        with self._ledger.database.write(share=shared) as tx:
            carry_out(tx, asks)

    def _run(self, ask: Ask) -> None:
        try:
            ask.answer = self._once_more(lambda: ask.what(self._ledger))
        except BaseException as error:  # noqa: BLE001 - as above
            ask.answer = error

    @staticmethod
    def _once_more(work: Callable[[], T]) -> T:
        """A server that restarts breaks off what it is at; the next transaction waits for it."""
        try:
            return work()
        except LedgerInterrupted:
            return work()

    def _answer(self, asks: Sequence[Ask]) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_hand_over, asks)


def _hand_over(asks: Sequence[Ask]) -> None:
    for ask in asks:
        if ask.future.done():  # its caller was cancelled
            continue
        if isinstance(ask.answer, BaseException):
            ask.future.set_exception(ask.answer)
        else:
            ask.future.set_result(ask.answer)


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Otherwise asyncio reports an exception that nobody fetched."""
    if not future.cancelled():
        future.exception()
