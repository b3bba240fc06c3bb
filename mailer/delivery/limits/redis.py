"""Limits shared through Redis: one atomic script, and Redis' own clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from mailer.delivery.contract import Grant
from mailer.delivery.limits.copies import Copies
from mailer.delivery.limits.filling import Filling
from mailer.delivery.limits.journal import Journal
from mailer.delivery.limits.limiter import PATIENCE, Answers, Ask, GrantLog, WindowLimiter
from mailer.delivery.limits.plan import Limits, Terms


class RedisDecider:
    """Implements ``limiter.Decider``. For one event loop.

    Raises LimitsUnavailable within about two seconds when Redis hangs or is away, and at once for a second
    after that.
    """

    def __init__(self, filling: Filling, journal: Journal) -> None:
        self._filling = filling
        self._journal = journal

    async def answer(self, asks: Sequence[Ask], terms: Mapping[str, Terms]) -> Answers:
        keys = list(terms)
        place = {key: number for number, key in enumerate(keys, 1)}
        request = {
            "terms": [own.as_json() for own in terms.values()],
            "asks": [
                {
                    "keys": [place[key] for key in ask.keys],
                    "wanted": ask.wanted,
                    "consume": ask.consume,
                    "patience": ask.patience,
                }
                for ask in asks
            ],
        }
        now, flat, full = await self._filling.do("answer", keys, json.dumps(request))
        grants = [Grant(flat[at], float(flat[at + 1])) for at in range(0, len(flat), 2)]
        answers = Answers(grants, [keys[number - 1] for number in full], float(now))
        self._journal.note(asks, answers, terms)
        return answers

    async def slow_down(self, key: str, terms: Terms, full: float, seconds: float | None) -> None:
        request = {"full": full, "seconds": seconds or 0, "terms": terms.as_json()}
        await self._filling.do("slow_down", [key], json.dumps(request))


class RedisLimiter(WindowLimiter):
    """The Limiter of workers that share a Redis.

    ``copies`` is where long windows outlive Redis; None: they do not. ``clock`` None: Redis' own.
    """

    def __init__(
        self,
        limits: Limits,
        url: str,
        copies: Copies | None = None,
        *,
        patience: float = PATIENCE,
        grant_log: GrantLog | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        journal = Journal()
        self.filling = Filling(url, journal, copies, clock=clock)
        decider = RedisDecider(self.filling, journal)
        super().__init__(limits, decider, patience=patience, grant_log=grant_log)

    async def close(self) -> None:
        """Copy a last time, and let go of Redis."""
        await self.filling.close()
