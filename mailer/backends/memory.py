"""Keeps messages instead of sending them: the dry run, and the double for tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from mailer import crash
from mailer.backends import options
from mailer.backends.batch import too_large, unmarked
from mailer.backends.contract import BackendConfig, BackendLimits
from mailer.errors import BackendUnusable
from mailer.message import Accepted, Fenced, Mark, Outcome, Outgoing, Phase, Reply, Unknown

#: What a recipient's pattern leads to. Of a sequence, one per attempt; after the last, Accepted.
Script = Mapping[str, Outcome | Sequence[Outcome]]

_named: WeakValueDictionary[str, MemoryBackend] = WeakValueDictionary()


def connect(config: BackendConfig) -> MemoryBackend:
    """``memory://NAME``: the instance of that name, so that a test can look into it; ``memory:`` a new one.

    Options: ``keep`` (messages, default all), ``size`` (octets per message).
    """
    options.check(config, ("keep", "size"))
    name = urlsplit(config.url).netloc
    backend = _named.get(name) or MemoryBackend(name, keep=options.whole(config, "keep", None))
    backend.size = options.whole(config, "size", backend.size)
    return backend


class MemoryBackend:
    """``messages`` holds what left, oldest first; an Unknown one is there, too: it may have arrived.

    ``outcomes`` maps a pattern of the row's own recipient to what becomes of it; first match wins.
    A refusal whose reply is of phase BODY or DOT is given after the mark, others before it.
    ``latency`` is waited between mark and answer. While ``unusable`` is set, ``send`` and ``probe`` raise it.
    """

    def __init__(
        self,
        name: str = "",
        *,
        outcomes: Script | None = None,
        latency: float = 0.0,
        keep: int | None = None,
        size: int | None = None,
    ) -> None:
        self.name = name
        self.outcomes = dict(outcomes or {})
        self.latency = latency
        self.unusable: BackendUnusable | None = None
        self.messages: deque[Outgoing] = deque(maxlen=keep)
        self.closed = False
        self._attempts: dict[tuple[str, int], int] = {}
        self.size = size
        if name:
            _named[name] = self

    @property
    def limits(self) -> BackendLimits:
        return BackendLimits(size=self.size)

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> list[Outcome]:
        if self.unusable is not None:
            raise self.unusable
        return list(await asyncio.gather(*(self._send(message, mark) for message in batch)))

    async def probe(self) -> str:
        if self.unusable is not None:
            raise self.unusable
        return f"memory, {len(self.messages)} messages kept"

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _send(self, message: Outgoing, mark: Mark) -> Outcome:
        outcome = too_large(message, self.size) or self._scripted(message)
        if not _after_the_body(outcome):
            return outcome
        if stays := await unmarked(message, mark):
            return stays
        return await self._take(message, outcome)

    async def _take(self, message: Outgoing, outcome: Outcome) -> Outcome:
        crash.point("before_dot")
        if isinstance(outcome, Accepted | Unknown):
            self.messages.append(message)
        crash.point("after_dot")
        if self.latency:
            await asyncio.sleep(self.latency)
        crash.point("after_reply")
        return outcome

    def _scripted(self, message: Outgoing) -> Outcome:
        recipient = message.recipients[0].lower()
        for pattern, script in self.outcomes.items():
            if fnmatchcase(recipient, pattern.lower()):
                return self._next(pattern, message, script)
        return self._accepted(message)

    def _next(self, pattern: str, message: Outgoing, script: Outcome | Sequence[Outcome]) -> Outcome:
        if not isinstance(script, Sequence):
            return script
        key = pattern, message.id
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        return script[attempt] if attempt < len(script) else self._accepted(message)

    def _accepted(self, message: Outgoing) -> Accepted:
        reply = Reply("kept in memory", code=250, enhanced="2.0.0", phase=Phase.DOT)
        return Accepted(reply, reference=message.message_id)


def _after_the_body(outcome: Outcome) -> bool:
    """Accepted and Unknown need the body by their nature, the others say so by their phase."""
    if isinstance(outcome, Accepted | Unknown):
        return True
    late = (Phase.BODY, Phase.DOT)
    return not isinstance(outcome, Fenced) and outcome.reply.phase in late
