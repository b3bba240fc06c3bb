"""Group commit: one thread per process writes what all tasks of the event loop have asked for.

It commits whatever has queued as soon as the previous commit returns. No timer: when little happens a
write is on disk at once, and when much happens many share one flush of the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from mailer.errors import LedgerBusy, LedgerError, LedgerInterrupted
from mailer.ledger.claiming import claim
from mailer.ledger.contract import Settlement, Slice, campaign_of
from mailer.ledger.held import Held, held
from mailer.ledger.ledger import Ledger
from mailer.ledger.marking import mark
from mailer.ledger.settling import is_plain, settle
from mailer.ledger.transaction import Transaction

T = TypeVar("T")

#: In one transaction. More would let the next mark wait for longer than a flush takes.
MOST_AT_ONCE = 500


@dataclass(slots=True, eq=False)
class _Ask:
    """One caller's wish; ``what`` is what its kind needs, and ``answer`` a value or an exception."""

    kind: str
    what: Any
    future: asyncio.Future[Any]
    answer: Any = None


class GroupCommit:
    """The ledger for one event loop. An answer comes when the commit that holds it is durable.

    What fails raises LedgerError for its own caller alone: when a common transaction fails, each wish is
    tried in one of its own. Wishes are answered in order, except that ``run`` comes after all claims, marks
    and settlements that were there with it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asks: SimpleQueue[_Ask | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    async def claim(self, ids: Sequence[int], worker: str, lease_seconds: float) -> Slice:
        return cast("Slice", await self._ask("claim", (ids, worker, lease_seconds)))

    async def mark(self, id_: int, fence: int) -> bool:
        """True, durably: the body may go out. False: it must not."""
        return cast("bool", await self._ask("mark", (id_, fence)))

    async def settle(self, settlement: Settlement) -> bool:
        return cast("bool", await self._ask("settle", settlement))

    def settle_soon(self, settlement: Settlement) -> asyncio.Future[bool]:
        """As ``settle``; nobody has to wait. A failure that nobody looks at shows in the next ``run``
        or ``claim``, which then fails too: the disk is the same."""
        future = self._ask("settle", settlement)
        future.add_done_callback(_looked_at)
        return future

    async def run(self, function: Callable[[Ledger], T]) -> T:
        """Call it on the ledger's thread, between commits; what it wrote is durable when this returns. It is
        called again when the connection broke, so it must not mind that."""
        return cast("T", await self._ask("run", function))

    async def close(self) -> None:
        """Finish what was asked for, end the thread, close the ledger. Later calls raise LedgerError."""
        if not self._closed:
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
            self._asks.put(_Ask(kind, what, future))
        return future

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

    def _next(self) -> tuple[list[_Ask], bool]:
        """Wait for a wish, and take all that are there; False after the last."""
        asks: list[_Ask] = []
        ask = self._asks.get()
        while ask is not None:
            asks.append(ask)
            if len(asks) >= MOST_AT_ONCE:
                return asks, True
            try:
                ask = self._asks.get_nowait()
            except Empty:
                return asks, True
        return asks, False

    def _commit(self, asks: Sequence[_Ask]) -> None:
        try:
            self._once_more(lambda: self._together(asks))
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            if len(asks) == 1 or isinstance(error, LedgerBusy):
                _note(asks, [error] * len(asks))
                return
            for at, ask in enumerate(asks):
                self._commit([ask])
                if isinstance(ask.answer, LedgerBusy):  # the others would wait as long, one after the other
                    _note(asks[at:], [ask.answer] * len(asks[at:]))
                    return

    def _together(self, asks: Sequence[_Ask]) -> None:
        shared = {campaign_of(_first(ask)) for ask in asks}
        with self._ledger.database.write(share=shared) as tx:
            _carry_out(tx, asks)

    def _run(self, ask: _Ask) -> None:
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

    def _answer(self, asks: Sequence[_Ask]) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_hand_over, asks)


def _carry_out(tx: Transaction, asks: Sequence[_Ask]) -> None:
    """Settlements first: what they give back may be claimed in the same commit."""
    settlements = [ask for ask in asks if ask.kind == "settle"]
    marks = [ask for ask in asks if ask.kind == "mark"]
    claims = [ask for ask in asks if ask.kind == "claim"]
    rows = _held(tx, settlements, marks) if settlements or marks else {}
    if not claims and all(is_plain(ask.what) for ask in settlements):
        tx.only_write()
    if settlements:
        _note(settlements, settle(tx, [ask.what for ask in settlements], rows))
    if marks:
        _note(marks, mark(tx, [ask.what for ask in marks], rows))
    for ask in claims:
        ask.answer = claim(tx, *ask.what)


def _held(tx: Transaction, settlements: Sequence[_Ask], marks: Sequence[_Ask]) -> dict[int, Held]:
    pairs = [(ask.what.id, ask.what.fence) for ask in settlements] + [ask.what for ask in marks]
    return held(tx, [id_ for id_, _ in pairs], {fence for _, fence in pairs})


def _first(ask: _Ask) -> int:
    """A row of the campaign that it changes."""
    if ask.kind == "settle":
        return cast("int", ask.what.id)
    return cast("int", ask.what[0] if ask.kind == "mark" else (*ask.what[0], 0)[0])


def _note(asks: Sequence[_Ask], answers: Sequence[Any]) -> None:
    for ask, answer in zip(asks, answers, strict=True):
        ask.answer = answer


def _hand_over(asks: Sequence[_Ask]) -> None:
    for ask in asks:
        if ask.future.done():  # its caller was cancelled
            continue
        if isinstance(ask.answer, BaseException):
            ask.future.set_exception(ask.answer)
        else:
            ask.future.set_result(ask.answer)


def _looked_at(future: asyncio.Future[bool]) -> None:
    """Otherwise asyncio reports an exception that nobody fetched."""
    if not future.cancelled():
        future.exception()
