"""One engine in a process of its own, told what to do by its parent: ``python -m mailer.delivery.child FD``.

It ends when told to drain, and when its parent is gone: then it gives back what it has not started.
Signals are its parent's business: Ctrl-C reaches the whole terminal, and only the parent may act on it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mailer import logs
from mailer.delivery.contract import Hint
from mailer.delivery.dispatcher import Done, InProcess
from mailer.delivery.frames import Drain, Report, post, receive
from mailer.delivery.station import PLAIN_LOGS, Station, StationConfig
from mailer.errors import MailerError
from mailer.ledger import open_ledger
from mailer.ledger.writer import GroupCommit

log = logging.getLogger(__name__)

#: How long what is under way may take when the parent is gone.
ORPHAN_SECONDS = 30.0


class Child:
    """The loop of the child process."""

    def __init__(self, station: Station, config: StationConfig, writer: asyncio.StreamWriter) -> None:
        self._station = station
        self._backends = (*config.backends, *config.routes)
        self._writer = writer
        # The parent bounds what is outstanding, not this dispatcher.
        self._dispatcher = InProcess(station.engine, done=self._report)

    async def serve(self, reader: asyncio.StreamReader) -> None:
        drain = Drain(ORPHAN_SECONDS)
        with suppress(EOFError):
            while not isinstance(message := await receive(reader), Drain):
                await self._take(message)
            drain = message
        await self._dispatcher.drain(drain.seconds)

    async def _take(self, message: Any) -> None:
        if isinstance(message, Hint):
            await self._dispatcher.dispatch(message)

    def _report(self, done: Done) -> None:
        if done.error is not None and not isinstance(done.error, MailerError):
            log.error("a slice failed", exc_info=done.error)
            # Not every foreign exception survives the journey.
            done = replace(done, error=MailerError(f"{type(done.error).__name__} in a worker process"))
        if self._writer.is_closing():
            return  # the parent is gone; the ledger knows
        rests = {name: self._station.engine.resting(name) for name in self._backends}
        post(self._writer, Report(done, rests))


async def _main(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: None)
    reader, writer = await asyncio.open_connection(sock=connection)
    config = await receive(reader)
    logs.set_up(*config.logs)
    ledger = open_ledger(config.ledger_url)
    group_commit = GroupCommit(ledger)
    station = Station(config, group_commit)
    try:
        await Child(station, config, writer).serve(reader)
    finally:
        await station.engine.close()
        await group_commit.close()
        writer.close()


def main() -> None:
    from mailer.delivery.loop import run

    logs.set_up(*PLAIN_LOGS)
    run(_main(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
