"""``mailer gateway`` as a process: runs until it is asked to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

import uvloop

from mailer import wiring
from mailer.gateway.certificate import Certificate
from mailer.gateway.config import GatewayConfig
from mailer.gateway.server import Gateway
from mailer.outbox.contract import STREAMS
from mailer.outbox.intake import Intake
from mailer.settings import Settings
from mailer.submission.rooms import Submission

#: How long what is being received, and then what is being delivered here, may take at the end.
CLOSE_SECONDS = 30.0


def run(
    settings: Settings,
    config: GatewayConfig,
    certificate: Certificate | None,
    listening: Callable[[Sequence[int]], None],
) -> None:
    """Serve until SIGINT or SIGTERM; ``listening`` is told the ports. Raises ConfigError, LedgerError."""
    wish = settings.gateway.backend
    backends = {one: wiring.backend_name(settings.for_stream(one), wish) for one in STREAMS}
    submission = Submission(settings)
    try:
        intake = Intake(
            submission.ledger, runner=submission.runner, backends=backends, announce=submission.announce
        )
        uvloop.run(_serve(Gateway(config, certificate, submission.ledger, intake), listening))
    finally:
        submission.close(CLOSE_SECONDS)


async def _serve(gateway: Gateway, listening: Callable[[Sequence[int]], None]) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    await gateway.start()
    listening(gateway.ports)
    await stop.wait()
    await gateway.stop(CLOSE_SECONDS)
