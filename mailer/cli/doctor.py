"""``mailer doctor``: try everything that a send needs, and say what to do about what does not work."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

import typer

from mailer.backends.contract import BackendConfig
from mailer.cli.finding import OK, WARNING, WRONG, Finding
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Backend, Json, Ledger
from mailer.cli.output import say, say_json
from mailer.cli.senders import sender_findings
from mailer.errors import ConfigError, MailerError
from mailer.settings import Settings

#: What mail is submitted on. Many networks block 25; 2525 is what providers offer instead.
PORTS = (25, 465, 587, 2525)
#: Seconds for one connection attempt.
PATIENCE = 3.0


def doctor(
    domain: Annotated[
        str | None, typer.Option("--domain", help="Also ask backends and DNS about this sender domain.")
    ] = None,
    ledger: Ledger = None,
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Try everything a send needs; say what is wrong.

    Settings, ledger, broker, backends, ports and DNS. Logs in to every backend and sends nothing. Exit code 1
    when something is wrong.

    Example: mailer doctor --domain acme.example
    """
    from mailer.wiring import backend_configs

    settings = Settings.load(ledger=ledger)
    configs = backend_configs(settings, *([backend] if backend else []))
    _prove(settings)
    findings = []
    for finding in _findings(settings, configs, domain):
        findings.append(finding)
        if as_json:
            say_json(asdict(finding))
        else:
            say(f"{_MARKS[finding.state]} {finding.place}: {finding.text}")
    if any(finding.state == WRONG for finding in findings):
        raise typer.Exit(1)


def _prove(settings: Settings) -> None:
    """What only shows when it is used. Raises ConfigError, as every command that needs it would."""
    from mailer.delivery.limits.plan import Limits
    from mailer.wiring import backend_rates, care, sender_rates

    Limits(backend_rates(settings), sender_rates(settings))
    care(settings)
    _ = settings.template_root, settings.files_root


_MARKS = {OK: "  ok ", WARNING: "  ?  ", WRONG: "WRONG"}


def _findings(settings: Settings, configs: dict[str, BackendConfig], domain: str | None) -> Iterator[Finding]:
    yield Finding("settings", OK, str(settings.file) if settings.file else "no mailer.toml; defaults")
    yield _try("ledger", lambda: _ledger(settings))
    if settings.broker_url is None:
        yield Finding("broker", OK, "none; campaigns run by `mailer send`")
    else:
        yield _try("broker", lambda: _broker(settings.broker_url or ""))
        yield from _workers(settings)
    if settings.limits is not None:
        yield _try("limits", lambda: _limits(settings))
    if not configs:
        yield Finding("backends", WARNING, "none: write [backends.main] with a url into mailer.toml")
    for name, config in configs.items():
        yield _try(f"backend {name}", lambda config=config: _probe(config))  # type: ignore[misc]
        yield from _reserves(settings, name)
        yield from _ports(name, config)
    if domain:
        yield from sender_findings(configs, domain)


def _try(place: str, action: Callable[[], str]) -> Finding:
    try:
        return Finding(place, OK, action())
    except (MailerError, OSError) as error:
        return Finding(place, WRONG, str(error).removeprefix(f"backend {place.removeprefix('backend ')!r}: "))


def _workers(settings: Settings) -> Iterator[Finding]:
    """Those that have signed in the ledger lately: alive, in time, and with the same files."""
    from mailer.cli.signatures import judged

    try:
        with open_ledger(settings, quiet=True) as rooms:
            signed = rooms.workers.signed()
    except MailerError:
        return  # said already
    found = list(judged(signed, settings))
    if not found:
        yield Finding("workers", WARNING, "none runs; start one: mailer worker")
    for name, well, text in found:
        yield Finding(f"worker {name}", OK if well else WARNING, text)


def _limits(settings: Settings) -> str:
    from mailer.wiring import limits_url

    url = limits_url(settings)
    if url is None:
        return "in the ledger"
    try:
        from mailer.delivery.limits.filling import ping
    except ModuleNotFoundError as missing:
        raise ConfigError(f"{missing.name!r} is missing: pip install 'mailer-worker[worker]'") from None
    return asyncio.run(ping(url))


def _ledger(settings: Settings) -> str:
    with open_ledger(settings, quiet=True) as rooms:
        campaigns = rooms.campaigns.list()
        began = time.monotonic()
        rooms.buckets.exchange(["doctor"], lambda known, now: ({"doctor": {"at": now}}, None))
        took = 1000 * (time.monotonic() - began)
    url = settings.ledger_url
    return f"{url.partition('@')[2] or url}, {len(campaigns)} campaigns, a commit takes {took:.0f} ms"


def _broker(url: str) -> str:
    from mailer.publisher import ping

    return f"answers; a message there and back takes {1000 * ping(url):.0f} ms"


def _probe(config: BackendConfig) -> str:
    from mailer.backends import connect

    async def probe() -> str:
        backend = connect(config)
        try:
            return await backend.probe()
        finally:
            await backend.close()

    return asyncio.run(probe())


def _reserves(settings: Settings, name: str) -> Iterator[Finding]:
    """What bulk mail leaves of limits whose window nobody can wait for."""
    from mailer.delivery.limits.plan import Limits
    from mailer.wiring import backend_rates

    rates = backend_rates(settings)
    if name not in rates:
        return
    terms = Limits({name: rates[name]}).terms(f"backend:{name}")
    bulk = [
        f"{less} of {rate}"
        for rate, less in zip(terms.rates, terms.for_bulk.rates, strict=True)
        if less != rate
    ]
    if bulk:
        yield Finding(f"limits of {name}", OK, f"bulk mail uses {', '.join(bulk)}; the rest is transactional")


def _ports(name: str, config: BackendConfig) -> Iterator[Finding]:
    """Which submission ports of the relay can be reached from here."""
    parts = urlsplit(config.url)
    if not parts.scheme.startswith("smtp") or parts.hostname in (None, "localhost", "127.0.0.1", "::1"):
        return
    reachable = [port for port in PORTS if _opens(str(parts.hostname), port)]
    shown = ", ".join(map(str, reachable)) or "none"
    blocked = "" if reachable else f"; none of {PORTS} answers: a firewall, or the wrong host"
    yield Finding(f"ports of {name}", OK if reachable else WARNING, f"reachable: {shown}{blocked}")


def _opens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return True
    except OSError:
        return False
