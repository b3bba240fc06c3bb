"""Is anybody there? Asked before a campaign is checked or run."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from mailer.backends.contract import BackendConfig
from mailer.cli.output import note
from mailer.errors import BackendUnusable
from mailer.settings import Settings
from mailer.wiring import backends_of


def is_local(settings: Settings, backend: str) -> bool:
    """Nothing that this backend, or any of this route, takes leaves the machine."""
    return all(_stays(config.url) for config in backends_of(settings, backend))


def probe(settings: Settings, wish: str) -> None:
    """Fail now rather than after the check: connect, log in, send nothing.

    Of a route one backend that answers is enough. Raises BackendUnusable.
    """
    faults = [fault for config in backends_of(settings, wish) if (fault := _fault(config))]
    if len(faults) == len(backends_of(settings, wish)):
        first = faults[0]
        reasons = "\n".join([first.reason, *map(str, faults[1:])])
        raise BackendUnusable(
            first.backend, f"{reasons}\nNothing was sent. `mailer doctor` looks closer.", first.lasting
        )
    for fault in faults:
        note(f"{fault}; the others of the route answer")


def _fault(config: BackendConfig) -> BackendUnusable | None:
    from mailer.backends import connect

    async def ask() -> None:
        backend = connect(config)
        try:
            await backend.probe()
        finally:
            await backend.close()

    try:
        asyncio.run(ask())
    except BackendUnusable as error:
        return error
    return None


def _stays(address: str) -> bool:
    url = urlsplit(address)
    if url.scheme in {"file", "console", "memory"}:
        return True
    return url.scheme in {"smtp", "smtps"} and url.hostname in {"127.0.0.1", "::1", "localhost"}
