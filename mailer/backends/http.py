"""Messages over a provider's HTTP API: marks, batches and outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

from mailer import crash
from mailer.backends.account import Account
from mailer.backends.answers import Answer, Said, now
from mailer.backends.batch import all_unmarked, too_large, unmarked, unsent
from mailer.backends.channel import Channel, Lost
from mailer.backends.contract import BackendLimits, Standing, Use
from mailer.backends.expressible import complaints
from mailer.backends.meanings import Verdict
from mailer.backends.probing import probe, standing
from mailer.backends.provider import NOT_UNDERSTOOD, Letter, Provider
from mailer.backends.slots import Slots
from mailer.backends.structured import Unreadable
from mailer.errors import BackendUnusable
from mailer.message import Fenced, Mark, Outcome, Outgoing, Phase, Rejected, Reply, Unknown


class HttpBackend:
    """Implements what ``backends.contract`` has, for any ``Provider``."""

    def __init__(self, account: Account, provider: Provider) -> None:
        facts = provider.facts
        self.provider = provider
        self._account = account
        self._name = account.name
        self._metadata = account.metadata
        self._batch = account.batch or facts.batch
        self._channel = Channel(account)
        self._slots = Slots(account.connections, lambda: self._channel.open)
        self._closed = False
        self._limits = BackendLimits(
            batch=self._batch,
            concurrency=account.connections,
            size=account.size or facts.size,
            batched=self._batch > 1,
            # A batch of another try is another batch, under another key: only single messages are safe.
            idempotent=facts.key_seconds > 0 and self._batch == 1,
            idempotency_window=facts.key_seconds,
        )

    @property
    def limits(self) -> BackendLimits:
        return self._limits

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> list[Outcome]:
        if self._closed:
            raise BackendUnusable(self._name, "it was closed")
        letters = [Letter(message) for message in batch]
        for letter in letters:
            letter.outcome = too_large(letter.message, self._limits.size) or self._refusal(letter)
        parts = self._parts([letter for letter in letters if letter.outcome is None])
        results = await self._all(parts, mark)
        for part, result in zip(parts, results, strict=True):
            if isinstance(result, BackendUnusable):
                if all(letter.outcome is None for letter in letters):
                    raise result
                _settle(part, unsent(result))
            elif result is not None:
                raise result
        return [letter.outcome for letter in letters if letter.outcome is not None]

    async def probe(self) -> str:
        """Requests that need the key and send nothing."""
        return await probe(self._account, self.provider, self._channel.exchange, self._judged)

    async def standing(self, domain: str, /) -> Standing | None:
        return await standing(self.provider, domain, self._channel.exchange)

    def complaints(self, message: Outgoing) -> list[str]:
        """What this message needs and the provider cannot do, each with the provider's name."""
        return self._inexpressible(Letter(message))

    async def close(self) -> None:
        """Wait for the requests under way; each has its deadline."""
        self._closed = True
        await self._slots.close()
        await self._channel.close()

    def share(self, wake: Callable[[], None], /) -> None:
        self._slots.begin(wake)

    def demand(self) -> Use:
        return self._slots.demand()

    def allow(self, most: int, /) -> None:
        self._channel.keep(most)
        self._slots.allow(most)

    # From messages to requests.

    def _refusal(self, letter: Letter) -> Rejected | None:
        found = self._inexpressible(letter)
        if not found:
            return None
        return Rejected(Reply("; ".join(found)[:500], phase=Phase.REQUEST, reason="It cannot be expressed."))

    def _inexpressible(self, letter: Letter) -> list[str]:
        facts, title = self.provider.facts, self.provider.facts.title
        try:
            found = complaints(facts, letter, labels=self._account.labels, fixed=self._metadata)
            return [f"{title} cannot send {one}" for one in found]
        except Unreadable as error:
            return [f"{title} cannot send this message: {error}"]

    def _parts(self, letters: Iterable[Letter]) -> list[list[Letter]]:
        """What goes into one request each: of one group, within the provider's limits."""
        groups: dict[Hashable, list[Letter]] = {}
        for letter in letters:
            groups.setdefault(self.provider.group(letter), []).append(letter)
        parts: list[list[Letter]] = []
        for group in groups.values():
            octets = 0
            part: list[Letter] = []
            for letter in group:
                weight = _weight(letter)
                octets += weight
                full = len(part) >= self._batch
                if not part or full or octets > (self.provider.facts.request_octets or octets):
                    part, octets = [], weight
                    parts.append(part)
                part.append(letter)
        return parts

    async def _all(self, parts: list[list[Letter]], mark: Mark) -> Sequence[BaseException | None]:
        """What each part raised. One alone needs no task, and for single messages that is the rule."""
        if len(parts) != 1:
            turns = (self._in_turn(part, mark) for part in parts)
            return await asyncio.gather(*turns, return_exceptions=True)
        try:
            await self._in_turn(parts[0], mark)
        except BackendUnusable as fault:
            return [fault]
        return [None]

    async def _in_turn(self, part: list[Letter], mark: Mark) -> None:
        if not await self._slots.enter():
            _settle(part, Fenced())
            return
        try:
            stays = await _marked(part, mark)
            for letter, stay in zip(part, stays, strict=True):
                letter.outcome = stay
            going = [letter for letter in part if letter.outcome is None]
            if going:
                await self._deliver(going)
        finally:
            self._slots.leave()

    async def _deliver(self, letters: list[Letter]) -> None:
        """Raises BackendUnusable: nothing of these was sent."""
        crash.point("before_dot")
        try:
            answer = await self._channel.exchange(self.provider.request(letters))
        except Lost as lost:
            _settle(letters, Unknown(_reply(str(lost), "No answer; the provider may have sent it.")))
            return
        crash.point("after_reply")
        outcomes = self._read(answer, letters)
        if outcomes is not None:
            for letter, outcome in zip(letters, outcomes, strict=True):
                letter.outcome = outcome
            return
        whole = self._judged(answer)
        if isinstance(whole, Rejected) and len(letters) > 1:
            await self._halves(letters)
        else:
            _settle(letters, _spared(letters, whole))

    async def _halves(self, letters: list[Letter]) -> None:
        """The request was refused and nothing sent: for one bad message the others shall not suffer."""
        middle = len(letters) // 2
        for half in (letters[:middle], letters[middle:]):
            try:
                await self._deliver(half)
            except BackendUnusable as fault:
                _settle(half, unsent(fault))

    # From answers to outcomes.

    def _read(self, answer: Answer, letters: Sequence[Letter]) -> Sequence[Outcome] | None:
        """None: the answer is about the request as a whole, or cannot be understood."""
        try:
            outcomes = self.provider.read(answer, letters)
        except NOT_UNDERSTOOD:
            return None
        if outcomes is not None and len(outcomes) != len(letters):
            text = f"{len(outcomes)} results for {len(letters)} messages"
            return [Unknown(_reply(text, "The answer does not fit the request."))] * len(letters)
        return outcomes

    def _judged(self, answer: Answer) -> Verdict:
        try:
            said = self.provider.said(answer)
        except NOT_UNDERSTOOD:
            said = Said(answer.status, "", answer.text)
        wait = said.wait if said.wait is not None else answer.wait(self.provider.facts.reset, now())
        return Said(said.status, said.code, said.text, wait).verdict(self.provider.facts.rules)


async def _marked(part: Sequence[Letter], mark: Mark) -> Sequence[Outcome | None]:
    if len(part) == 1:
        return [await unmarked(part[0].message, mark)]
    return await all_unmarked([letter.message for letter in part], mark)


def _spared(letters: Sequence[Letter], whole: Verdict) -> Verdict:
    """Not every answer says whose address is bad: it may be that of a copy."""
    if isinstance(whole, Rejected) and len(letters[0].message.recipients) > 1:
        return replace(whole, suppress=False)
    return whole


def _settle(letters: Iterable[Letter], outcome: Outcome) -> None:
    """Those that have no outcome yet."""
    for letter in letters:
        letter.outcome = letter.outcome or outcome


def _weight(letter: Letter) -> int:
    """Octets of a message in a JSON request, about: escapes grow text a little, base64 stays."""
    return letter.message.size * 3 // 2 + 500


def _reply(text: str, reason: str) -> Reply:
    return Reply(text[:500], phase=Phase.REQUEST, reason=reason)
