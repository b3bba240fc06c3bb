"""Do these domains take mail? For ``check --dns``; needs the extra ``dns``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailer.errors import InputError

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

#: Questions at the same time: more makes home routers and small resolvers drop them.
CONCURRENCY = 32
#: Seconds for one question, with its retries.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Problem:
    """``certain`` False: the name server did not answer, so nothing is known; not a reason to leave
    the recipient out."""

    text: str
    certain: bool = True

    def __str__(self) -> str:
        return self.text


NO_DOMAIN = Problem("this domain does not exist")
NO_SERVER = Problem("this domain has neither MX nor address records, so no mail can reach it")
NULL_MX = Problem("this domain says that it takes no mail (null MX, RFC 7505)")
NOT_KNOWN = Problem("not known: its name servers did not answer", certain=False)


def lookup(
    domains: Iterable[str],
    *,
    nameservers: list[str] | None = None,
    port: int = 53,
    patience: float = PATIENCE,
) -> dict[str, Problem | None]:
    """What stands against each domain (A-label form), None for nothing.

    Asks the machine's own resolvers unless ``nameservers`` are given. Raises InputError without dnspython.
    Not to be called from a running event loop.
    """
    resolver = _resolver(nameservers, port, patience)
    return asyncio.run(_all(resolver, domains))


def _resolver(nameservers: list[str] | None, port: int, patience: float) -> Resolver:
    try:
        from dns.asyncresolver import Resolver
        from dns.resolver import NoResolverConfiguration
    except ModuleNotFoundError:
        raise InputError(
            "looking up domains needs dnspython", hint='pip install "mailer-worker[dns]"'
        ) from None
    try:
        resolver = Resolver(configure=nameservers is None)
    except NoResolverConfiguration:
        raise InputError(
            "this machine has no name server configured, so domains cannot be looked up"
        ) from None
    if nameservers is not None:
        resolver.nameservers = list(nameservers)
    resolver.port = port
    resolver.timeout = patience / 2
    resolver.lifetime = patience
    return resolver


async def _all(resolver: Resolver, domains: Iterable[str]) -> dict[str, Problem | None]:
    found: dict[str, Problem | None] = {}
    waiting = iter(dict.fromkeys(domains))

    async def work() -> None:
        # Workers over one iterator: a task per domain would be a million tasks.
        for domain in waiting:
            found[domain] = await _judge(resolver, domain)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(work())
    return found


async def _judge(resolver: Resolver, domain: str) -> Problem | None:
    from dns.exception import DNSException
    from dns.resolver import NXDOMAIN

    try:
        exchanges = await _exchanges(resolver, domain)
        if exchanges:
            return NULL_MX if exchanges == ["."] else None
        # RFC 5321 section 5.1: without an MX the domain's own address takes the mail.
        has_address = await _answers(resolver, domain, "A") or await _answers(resolver, domain, "AAAA")
    except NXDOMAIN:
        return NO_DOMAIN
    except (DNSException, OSError):
        return NOT_KNOWN
    return None if has_address else NO_SERVER


async def _exchanges(resolver: Resolver, domain: str) -> list[str]:
    from dns.resolver import NoAnswer

    try:
        return [str(record.exchange) for record in await resolver.resolve(f"{domain}.", "MX")]
    except NoAnswer:
        return []


async def _answers(resolver: Resolver, domain: str, kind: str) -> bool:
    from dns.resolver import NoAnswer

    try:
        await resolver.resolve(f"{domain}.", kind)
    except NoAnswer:
        return False
    return True
