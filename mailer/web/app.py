"""The HTTP face as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Response

from mailer import __version__
from mailer.errors import LedgerError
from mailer.settings import Settings
from mailer.web import campaigns, document, messages, problems, templates
from mailer.web.desk import Desk

log = logging.getLogger(__name__)

#: Idempotency keys of requests mean something for so long, and are looked at this often.
KEYS_SECONDS = 86_400.0
SWEEP_SECONDS = 3600.0

_ABOUT = """Hand over mail, and ask what became of it. Every request needs a key (`mailer keys create`) in
`Authorization: Bearer mk_…`. Every error is a problem document (RFC 9457)."""


def build(settings: Settings, processes: int = 1) -> FastAPI:
    """Opens everything; whoever serves it lets its lifespan end. Raises ConfigError, LedgerError."""
    desk = Desk(settings, processes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(desk))
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            await asyncio.to_thread(desk.close)

    api = FastAPI(
        title="mailer",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url="/docs" if settings.api.docs else None,
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy the redirect would name the wrong address
    )
    problems.install(api)
    for room in (messages, campaigns, templates):
        api.include_router(room.routes(desk))

    @api.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        """200 when the ledger answers."""
        await desk.threads.run(desk.ledger.database.clock)
        return problems.answer(200, {"status": "ok"})

    document.install(api)
    return api


async def _sweep(desk: Desk) -> None:
    while True:
        with suppress(LedgerError):  # next time
            old = time.time() - KEYS_SECONDS
            await desk.threads.run(desk.ledger.pruning.forget_keys, "mk_", old)
        await asyncio.sleep(SWEEP_SECONDS)
