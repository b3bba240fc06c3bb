"""What ``mailer doctor`` asks a provider: whether the key works, and which domains it may send from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from mailer.backends.account import Account
from mailer.backends.answers import UNASKED, Answer, one_line
from mailer.backends.channel import Channel, Lost
from mailer.backends.contract import Standing
from mailer.backends.meanings import Verdict
from mailer.backends.provider import NOT_UNDERSTOOD, Provider, Request
from mailer.errors import BackendUnusable
from mailer.message import Blocked, Reply

Exchange = Callable[[Request], Awaitable[Answer]]
_SHOWN = 20


@runtime_checkable
class TellsDomains(Protocol):
    """A provider whose domains are asked for apart from the key."""

    def domains(self, answers: Sequence[Answer], /) -> Request | str:
        """The next request, after these answers; or what they tell, in a few words.

        May raise what ``read`` may. A request that names a ``base`` goes there.
        """
        ...


@runtime_checkable
class TellsOneDomain(Protocol):
    """A provider without a list of domains that says of one whether mail may be sent from it."""

    def ask(self, domain: str, /) -> Request:
        """Sends nothing, whatever the answer is."""
        ...

    def told(self, answer: Answer, /) -> bool | None:
        """None: it does not say. May raise what ``read`` may."""
        ...


async def probe(
    account: Account, provider: Provider, exchange: Exchange, judged: Callable[[Answer], Verdict]
) -> str:
    """One line for people; nothing is sent. Raises BackendUnusable."""
    verdict: Verdict | None = None
    for check in provider.check():
        try:
            answer = await exchange(check)
        except Lost as lost:
            raise BackendUnusable(account.name, str(lost)) from None
        good = answer.ok or answer.status in check.fine
        if good and (told := _checked(provider, answer)) is not None:
            domains = await _domains(account, provider, exchange)
            return "; ".join(filter(None, (f"{provider.facts.title}: key valid", told, domains)))
        verdict = judged(answer)
    reply = verdict.reply if verdict else Reply("nothing to check")
    raise BackendUnusable(
        account.name, f"{reply.reason} ({reply.code} {reply.text})", isinstance(verdict, Blocked)
    )


async def standing(provider: Provider, domain: str, exchange: Exchange) -> Standing | None:
    """What ``KnowsDomain`` of ``backends.contract`` promises."""
    if not isinstance(provider, TellsOneDomain):
        return None
    title = provider.facts.title
    try:
        good = provider.told(await exchange(provider.ask(domain)))
    except (Lost, BackendUnusable, *NOT_UNDERSTOOD):
        return Standing(None, f"{title} could not be asked about it just now")
    if good is None:
        return Standing(None, f"{title} does not say whether mail may be sent from it")
    return Standing(good, f"{title} sends from it" if good else f"{title} refuses to send from it")


def statuses(body: Any) -> str:
    """Domains, each with the provider's own word for its state: of a list whose form is nowhere told.

    Raises what ``read`` may unless there is one list, and each item of it has both.
    """
    while isinstance(body, dict):
        (body,) = [one for one in body.values() if isinstance(one, list | dict)]
    found = [(one.get("domain") or one["name"], one["status"]) for one in body[:_SHOWN]]
    if not found or not all(isinstance(word, str | int) for pair in found for word in pair):
        raise ValueError("another form")
    return one_line(", ".join(f"{name} is {state!r} there" for name, state in found))


def _checked(provider: Provider, answer: Answer) -> str | None:
    try:
        return provider.checked(answer)
    except NOT_UNDERSTOOD:
        return "but its answer cannot be understood"


async def _domains(account: Account, provider: Provider, exchange: Exchange) -> str:
    """Empty where there is nothing to ask beside the key; a fault here leaves the key valid."""
    if not isinstance(provider, TellsDomains):
        return ""
    answers: list[Answer] = []
    try:
        while not isinstance(step := provider.domains(answers), str):
            answer = await _at(account, step, exchange)
            if not answer.ok:
                return f"{UNASKED} ({answer.status})"
            answers.append(answer)
    except (Lost, BackendUnusable):
        return "its domains could not be asked just now"
    except NOT_UNDERSTOOD:
        return "what it says of its domains cannot be understood: see its console"
    return step


async def _at(account: Account, request: Request, exchange: Exchange) -> Answer:
    if not request.base:
        return await exchange(request)
    channel = Channel(replace(account, base=request.base))
    try:
        return await channel.exchange(request)
    finally:
        await channel.close()
