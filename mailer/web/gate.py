"""Who may come in, and how much they may bring."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

from fastapi import Request

from mailer.delivery.limits.rates import Rate, parse
from mailer.errors import AccessDenied
from mailer.outbox.access import Key, authenticate
from mailer.submission.rooms import Submission
from mailer.web.problems import Problem
from mailer.web.threads import Threads

#: A key is asked for in the ledger no more often than this: so long a revoked one may still work.
KNOWN_SECONDS = 1.0
#: Keys that are remembered.
MOST_KNOWN = 10_000
#: The queue is measured no more often than this.
QUEUE_SECONDS = 1.0
#: Whoever finds the queue full may come again after this.
QUEUE_REST = 10


class Gate:
    """For one event loop. ``processes`` share each key's rate evenly."""

    def __init__(
        self,
        submission: Submission,
        threads: Threads,
        *,
        queue_limit: int,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = submission.ledger
        self._threads = threads
        self._queue_limit = queue_limit
        self._processes = processes
        self._clock = clock
        self._known: dict[bytes, tuple[Key, float]] = {}
        self._purses: dict[str, _Purse] = {}
        self._waiting = 0
        self._measure_at = 0.0

    async def admit(self, request: Request, scope: str) -> Key:
        """Whose request this is. Raises Problem 401 and 403, LedgerError."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Problem(401, "send the key: Authorization: Bearer mk_…")
        key = await self._key(text.strip())
        if not key.may(scope):
            raise Problem(
                403, f"this needs a key with the scope {scope!r}: mailer keys create --scopes {scope}"
            )
        return key

    async def pay(self, key: Key, messages: int) -> None:
        """Before so many messages are taken. Raises Problem 429."""
        now = self._clock()
        if now >= self._measure_at:
            self._measure_at = now + QUEUE_SECONDS
            self._waiting = await self._threads.run(self._ledger.listing.waiting)
        if self._waiting > self._queue_limit:
            raise Problem(429, "too many messages wait to be sent", retry_after=QUEUE_REST)
        if key.rate is None:
            return
        purse = self._purses.get(key.id)
        if purse is None or purse.text != key.rate:
            purse = self._purses[key.id] = _Purse(key.rate, self._processes, now)
        if wait := purse.spend(messages, now):
            raise Problem(429, f"this key may hand over {key.rate}", retry_after=wait)

    async def _key(self, text: str) -> Key:
        digest, now = sha256(text.encode(errors="replace")).digest(), self._clock()
        key, until = self._known.get(digest, (None, 0.0))
        if key is None or now >= until:
            try:
                key = await self._threads.run(authenticate, self._ledger, text)
            except AccessDenied as error:
                self._known.pop(digest, None)
                raise Problem(401, str(error)) from None
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = (key, now + KNOWN_SECONDS)
        return key


class _Purse:
    """Fills evenly. Whoever has anything may spend, and a large batch is paid off afterwards, so that a
    batch larger than the rate is not refused for ever."""

    def __init__(self, text: str, processes: int, now: float) -> None:
        rate: Rate = parse(text)
        self.text = text
        self._per_second = rate.per_second / processes
        self._most = max(1.0, rate.count / processes)
        self._left = self._most
        self._at = now

    def spend(self, messages: int, now: float) -> float:
        """0.0 when it was spent, else how many seconds to wait."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self._per_second
        self._left -= messages
        return 0.0
