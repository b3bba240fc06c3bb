"""Commands that stay until they are stopped: workers and the test server."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.cli.options import Ledger
from mailer.cli.output import note
from mailer.errors import ConfigError, InputError
from mailer.logs import set_up
from mailer.settings import Settings

if TYPE_CHECKING:
    from mailer.cli.supervisor import Supervisor

#: What a command says that needs Celery and has no broker.
NO_BROKER = (
    'no broker: write broker = "redis://localhost:6379/0" into mailer.toml, or set MAILER_BROKER_URL. '
    "Without one, `mailer send` runs a campaign from here."
)


def worker(
    processes: Annotated[int, typer.Option("--processes", min=1, max=64, help="Processes per queue.")] = 1,
    queues: Annotated[
        str, typer.Option("--queues", help="Queues to serve; each gets processes of its own.")
    ] = "bulk,transactional",
    metrics: Annotated[
        int | None,
        typer.Option("--metrics", metavar="PORT", help="Serve /metrics and /healthz here; 0: any free port."),
    ] = None,
    ledger: Ledger = None,
) -> None:
    """Run Celery workers that deliver what was enqueued.

    Needs `broker` in mailer.toml or MAILER_BROKER_URL. Each queue has its own processes, so bulk mail never
    delays transactional mail, and one that dies is replaced. SIGTERM or Ctrl-C finishes what is in flight and
    gives back the rest, within 30 s; a second one abandons it.

    Example: mailer worker --processes 2
    """
    from mailer.publisher import worker_argv

    settings = Settings.load(ledger=ledger, metrics_port=metrics)
    if settings.broker_url is None:
        raise ConfigError(NO_BROKER)
    if ledger:
        os.environ["MAILER_LEDGER_URL"] = ledger  # the workers read their settings themselves
    commands = {
        f"{queue}-{number}": worker_argv([queue], f"{queue}-{number}")
        for queue in _queues(queues)
        for number in range(1, processes + 1)
    }
    raise typer.Exit(_supervisor(commands, settings).run())


def _supervisor(commands: dict[str, list[str]], settings: Settings) -> Supervisor:
    from mailer.cli.supervisor import Supervisor

    tell = _tell(settings)
    if settings.metrics_port is None:
        return Supervisor(commands, tell=tell)
    from mailer.cli.metrics import Collector, Reports, serve

    reports = Reports()
    supervisor = Supervisor(commands, hear=reports.hear, ended=reports.ended, tell=tell)
    collector = Collector(reports, supervisor.alive, settings.ledger_url)
    port = serve(settings.metrics_port, settings.metrics_host, collector, supervisor.alive)
    tell(f"metrics: http://{settings.metrics_host}:{port}/metrics")
    return supervisor


def _tell(settings: Settings) -> Callable[[str], object]:
    """Whoever reads JSON lines gets nothing else on standard error."""
    if settings.log_format != "json":
        return note
    set_up(settings.log_format, settings.log_level)
    return logging.getLogger("mailer.worker").warning


def _queues(text: str) -> list[str]:
    from mailer.publisher import QUEUES

    wanted = [queue.strip() for queue in text.split(",")]
    for queue in wanted:
        if queue not in QUEUES:
            raise InputError(f"no queue {queue!r}", hint=f"There are {' and '.join(QUEUES)}.")
    return list(dict.fromkeys(wanted))


def sink(
    config: Annotated[
        Path | None, typer.Argument(metavar="RULES", help="TOML file with [sink] and [[rule]] tables.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any free one. Default 2525.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default 127.0.0.1.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Keep messages in this folder; else they are only counted.")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Show in a browser what arrives.")] = False,
    web_port: Annotated[
        int, typer.Option("--web-port", min=0, max=65535, help="Port of the pages; 0 takes any free one.")
    ] = 8025,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON line per message, and the summary.")
    ] = False,
) -> None:
    """Run a mail server for tests that can be told to misbehave.

    Nothing that it takes is ever delivered. Ctrl-C prints what arrived. `--web` keeps messages until then,
    or for longer with `--store`.

    Example: mailer sink --web
    """
    import dataclasses
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    from mailer.sink.config import SinkConfig, load
    from mailer.sink.runner import run

    wanted = load(config) if config else SinkConfig()
    given: dict[str, Any] = {"port": port, "host": host, "store": store}
    wanted = dataclasses.replace(wanted, **{key: value for key, value in given.items() if value is not None})
    with ExitStack() as stack:
        if web and wanted.store is None:
            folder = stack.enter_context(TemporaryDirectory(prefix="mailer-sink-"))
            wanted = dataclasses.replace(wanted, store=Path(folder))
        run(wanted, as_json=as_json, web=web_port if web else None)
