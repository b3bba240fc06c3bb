"""``mailer doctor --domain``: may mail be sent from this domain, and will it be believed?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mailer.address import Address, AddressError
from mailer.backends.contract import BackendConfig, KnowsDomain, Standing
from mailer.cli.finding import OK, WARNING, WRONG, Finding
from mailer.errors import InputError, MailerError

if TYPE_CHECKING:
    from mailer.backends.provider import Record

#: Seconds for one question to the DNS.
PATIENCE = 3.0
#: The texts of the records of this name and kind; raises LookupFailed.
Lookup = Callable[[str, str], list[str]]


class LookupFailed(Exception):
    """Nobody answered, or only with an error: what there is is not known."""


def sender_findings(configs: dict[str, BackendConfig], domain: str) -> Iterator[Finding]:
    """What backends and DNS say of it. Raises InputError for what is no domain, or without dnspython."""
    domain = _checked(domain)
    for name, config in configs.items():
        yield from _standing(name, config, domain)
    look = _resolver()
    yield from _everybody(look, domain)
    for name, config in configs.items():
        yield from _demanded(look, name, config, domain)


def _checked(domain: str) -> str:
    """As it stands in addresses and in the DNS."""
    try:
        return Address.parse(f"postmaster@{domain}").domain
    except AddressError as error:
        raise InputError(f"--domain {domain}: {error.reason}") from None


def _standing(name: str, config: BackendConfig, domain: str) -> Iterator[Finding]:
    """What is asked of those that answer by name; whether the key works is said elsewhere."""
    from mailer.backends import connect

    async def ask() -> Standing | None:
        backend = connect(config)
        try:
            return await backend.standing(domain) if isinstance(backend, KnowsDomain) else None
        finally:
            await backend.close()

    try:
        found = asyncio.run(ask())
    except MailerError:
        return
    if found is not None:
        yield Finding(f"{domain} at {name}", OK if found.good else WARNING, found.text)


def _everybody(look: Lookup, domain: str) -> Iterator[Finding]:
    """SPF and DMARC, without which the large mailbox providers refuse bulk mail."""
    for what, name, start in (("SPF", domain, "v=spf1"), ("DMARC", f"_dmarc.{domain}", "v=DMARC1")):
        try:
            found = [text for text in look(name, "TXT") if text.lower().startswith(start.lower())]
        except LookupFailed as failed:
            yield Finding(f"{what} of {domain}", WARNING, f"not known: {failed}")
            continue
        if found:
            yield Finding(f"{what} of {domain}", OK, found[0])
        else:
            yield Finding(f"{what} of {domain}", WRONG, f"no TXT record {start} at {name}; publish one")


def _demanded(look: Lookup, backend: str, config: BackendConfig, domain: str) -> Iterator[Finding]:
    """What a provider wants to see before it sends from this domain, where it tells nobody what it saw."""
    from mailer.backends import needed_records

    title, records = needed_records(config)
    for record in records:
        yield _record(look, f"{record.what} of {domain} for {backend}", title, record, domain)


def _record(look: Lookup, place: str, title: str, record: Record, domain: str) -> Finding:
    name = record.name.format(domain=domain)
    try:
        texts = look(name, record.kind)
    except LookupFailed as failed:
        return Finding(place, WARNING, f"not known: {failed}")
    found = [text for text in texts if re.search(record.pattern, text, re.IGNORECASE)]
    if found:
        return Finding(place, OK, f"as {title} wants it: {found[0]}")
    missing = f"{title} does not take the domain for verified without a {record.kind} record at {name}"
    return Finding(place, WARNING, f"{missing}: {record.publish}")


def _resolver() -> Lookup:
    try:
        from dns import exception, resolver
    except ModuleNotFoundError:
        raise InputError(
            "--domain needs dnspython", hint="Install it: pip install 'mailer-worker[dns]'"
        ) from None

    def look(name: str, kind: str) -> list[str]:
        try:
            answer = resolver.resolve(name, kind, lifetime=PATIENCE)
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return []
        except exception.DNSException as error:
            raise LookupFailed(type(error).__name__) from None
        if kind == "TXT":
            return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
        return [record.to_text() for record in answer]

    return look
