"""``mailer sink`` as a process: runs until it is asked to stop, then says what came in."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TextIO

import uvloop

from mailer.errors import ConfigError
from mailer.sink.config import SinkConfig
from mailer.sink.received import Received
from mailer.sink.server import Sink
from mailer.sink.store import Taken, envelope


def run(
    config: SinkConfig,
    *,
    as_json: bool = False,
    each: bool = True,
    output: TextIO | None = None,
    web: int | None = None,
) -> Received:
    """Serve until SIGINT or SIGTERM; a summary is the last thing printed.

    ``as_json`` prints one object per line: ``listening``, with ``web`` one more for its pages, with ``each``
    one ``message`` per message taken, ``summary``. ``web`` is the port of pages that show what is in
    ``config.store``. Raises ConfigError when it cannot listen.
    """
    report = _Report(output or sys.stdout, as_json=as_json)
    return uvloop.run(_serve(config, report, each=each, web=web))


async def _serve(config: SinkConfig, report: _Report, *, each: bool, web: int | None) -> Received:
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        watchers: list[Callable[[Taken], None]] = [report.message] if each else []
        sink = await stack.enter_async_context(
            Sink(config, on_message=_all_of(watchers) if each or web is not None else None)
        )
        report.listening(config, sink.port)
        if web is not None:
            await stack.enter_async_context(_pages(config, web, watchers, report))
        await stop.wait()
    report.summary(sink.received, time.monotonic() - started)
    return sink.received


def _all_of(watchers: list[Callable[[Taken], None]]) -> Callable[[Taken], None]:
    def tell(taken: Taken) -> None:
        for watch in watchers:
            watch(taken)

    return tell


@asynccontextmanager
async def _pages(
    config: SinkConfig, port: int, watchers: list[Callable[[Taken], None]], report: _Report
) -> AsyncIterator[None]:
    from mailer.sink.mailbox import Mailbox
    from mailer.sink.web import Bell, Pages, app, serving

    if config.store is None:
        raise ConfigError("--web shows what is stored, and nothing is: give --store FOLDER")
    bell = Bell()
    watchers.append(lambda _: bell.ring())
    async with serving(app(Pages(Mailbox(config.store), bell)), config.host, port) as real:
        report.pages(config.host, real)
        yield


class _Report:
    """Lines for people or for programs. When nobody reads them any more, the sink goes on."""

    def __init__(self, output: TextIO, *, as_json: bool) -> None:
        self._output: TextIO | None = output
        self._as_json = as_json

    def listening(self, config: SinkConfig, port: int) -> None:
        kept = f"kept in {config.store}" if config.store else "counted only"
        rules = f", {len(config.rules)} rules" if config.rules else ""
        text = f"mailer sink listens on {config.host}:{port}; messages are {kept}{rules}. Ctrl-C ends it."
        self._print({"event": "listening", "host": config.host, "port": port}, text)

    def pages(self, host: str, port: int) -> None:
        url = f"http://{host}:{port}/"
        self._print({"event": "web", "url": url}, f"What arrived is shown at {url}")

    def message(self, taken: Taken) -> None:
        recipients = ", ".join(taken.recipients)
        text = f"{taken.at:%H:%M:%S}  {taken.sender or '<>'} -> {recipients}  {len(taken.data)} octets"
        self._print({"event": "message"} | envelope(taken), text)

    def summary(self, received: Received, seconds: float) -> None:
        counts = received.as_dict() | {"seconds": round(seconds, 3)}
        self._print({"event": "summary"} | counts, "\n".join(_lines(received, seconds)))

    def _print(self, event: dict[str, Any], text: str) -> None:
        if self._output is None:
            return
        try:
            self._output.write((json.dumps(event) if self._as_json else text) + "\n")
            self._output.flush()
        except BrokenPipeError:
            self._output = None


def _lines(received: Received, seconds: float) -> list[str]:
    megabytes = received.octets / 1e6
    head = (
        f"{received.messages} messages to {received.recipients} recipients, {megabytes:.1f} MB,"
        f" over {received.connections} connections in {seconds:.1f} s"
    )
    counted = (("refused", received.refused), ("dropped", received.dropped), ("odd", received.odd))
    rows = [f"  {word} {what}: {n}" for word, counter in counted for what, n in sorted(counter.items())]
    return [head, *rows]
