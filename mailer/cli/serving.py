"""``mailer serve``: the HTTP API."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Annotated

import typer

from mailer import wiring
from mailer.cli.ledgers import open_ledger
from mailer.cli.options import Ledger
from mailer.cli.output import note
from mailer.errors import ConfigError
from mailer.settings import Settings

#: Requests that run when the server is stopped may take so long.
GRACE_SECONDS = 10
#: A process that says nothing for so long is taken to hang, and replaced. It starts in one second, on a busy
#: machine in ten: after uvicorn's five it would be killed again and again while it still loads.
HANG_SECONDS = 30


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any free one.")] = 8080,
    processes: Annotated[int, typer.Option("--processes", min=1, max=64, help="Processes that serve.")] = 1,
    ledger: Ledger = None,
) -> None:
    """Run the HTTP API.

    Applications hand over messages and campaigns, and ask what became of them, with a key that
    `mailer keys create` makes. With `broker` in mailer.toml, `mailer worker` delivers; without, this process
    does. It speaks plain HTTP: put a reverse proxy with TLS in front of it.

    Example: mailer serve --port 8080 --processes 2
    """
    settings = Settings.load(ledger=ledger)
    wiring.backend_configs(settings)  # what is wrong is said once, not by each process
    if ledger:
        os.environ["MAILER_LEDGER_URL"] = ledger  # its processes read their settings themselves
    with open_ledger(settings) as rooms:
        if not rooms.keys.list():
            note("there are no keys yet, so nobody can come in: mailer keys create --name shop")
    # Told to end, it ends with 0, also before the server is loaded; uvicorn repeats the signal that ended it.
    with _listener(host, port) as listener, suppress(KeyboardInterrupt):
        note(f"http://{_shown(host)}:{listener.getsockname()[1]}; Ctrl-C stops it")
        _run(listener, processes)


def _run(listener: socket.socket, processes: int) -> None:
    try:
        import uvicorn
        from uvicorn.supervisors import Multiprocess

        from mailer.web.protocol import ProblemProtocol
    except ImportError:
        raise ConfigError("this needs 'uvicorn': pip install 'mailer-worker[web]'") from None
    os.environ["MAILER_API_PROCESSES"] = str(processes)
    config = uvicorn.Config(
        "mailer.web.server:application",
        factory=True,
        http=ProblemProtocol,
        workers=processes,
        access_log=False,  # its lines would hold addresses: /v1/messages?to=…
        log_config=None,  # ours, without addresses
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=HANG_SECONDS,
        server_header=False,
    )
    if processes > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; try another --port") from None
    # Else an answer in two writes waits 40 ms for the other side's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
