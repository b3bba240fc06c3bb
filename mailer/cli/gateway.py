"""``mailer gateway``: SMTP in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mailer.cli.ledgers import shown
from mailer.cli.options import Json, Ledger
from mailer.cli.output import note, say_json
from mailer.settings import Settings


def gateway(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; 0.0.0.0 is all. Default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port with STARTTLS. Default 587.")
    ] = None,
    tls_port: Annotated[
        int | None, typer.Option("--tls-port", min=0, max=65535, help="Port with TLS from the start: 465.")
    ] = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Take mail over SMTP from applications that can speak nothing else.

    Each message is a row of the ledger before it is answered with 250, and goes out as all others do. Clients
    encrypt and log in with a key: the user is its id, the password its secret. Needs `certificate` and `key`
    under `[gateway]` in mailer.toml. Ctrl-C finishes what is being received.

    Example: mailer gateway --host 0.0.0.0 --port 587 --tls-port 465
    """
    from mailer.gateway.config import configured
    from mailer.gateway.runner import run
    from mailer.logs import set_up

    settings = Settings.load(ledger=ledger)
    given: dict[str, Any] = {"host": host, "port": port, "tls_port": tls_port}
    wanted = settings.gateway.model_copy(update={key: one for key, one in given.items() if one is not None})
    config, certificate = configured(wanted, settings.directory)
    set_up(settings.log_format, settings.log_level)
    note(f"ledger: {shown(settings.ledger_url)}")

    def listening(ports: Sequence[int]) -> None:
        if as_json:
            say_json({"event": "listening", "host": config.host, "ports": list(ports)})
        note(
            f"mailer gateway listens on {config.host}, port {' and '.join(map(str, ports))}. Ctrl-C ends it."
        )

    run(settings, config, certificate, listening)
