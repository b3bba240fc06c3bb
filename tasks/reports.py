"""What a worker process says about itself: to its supervisor each second, in the ledger now and then."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mailer.delivery.counters import Counters
from mailer.delivery.sight import fingerprint
from mailer.errors import LedgerError
from mailer.ledger.ledger import Ledger
from mailer.ledger.writer import GroupCommit
from mailer.publisher import REPORT_FD

REPORT_SECONDS = 1.0
#: How often a worker signs in the ledger, and measures how long a commit takes.
SIGN_SECONDS = 10.0


class Orphaned(Exception):
    """Nobody listens any more: the supervisor has died."""


class Reporter:
    """A JSON line a second on the supervisor's pipe: it shows that the event loop turns, and how late."""

    def __init__(self, counters: Counters, gauges: Callable[[], Mapping[str, float]]) -> None:
        self._counters = counters
        self._gauges = gauges
        self._fd = int(os.environ.get(REPORT_FD, "-1"))
        self._unsent = b""

    async def run(self) -> None:
        """Returns at once without a supervisor. Raises Orphaned when it is gone."""
        if self._fd < 0:
            return
        os.set_blocking(self._fd, False)
        lag = 0.0
        while True:
            self._say({"counts": self._counters.snapshot(), "gauges": {"loop_lag": lag, **self._gauges()}})
            began = time.monotonic()
            await asyncio.sleep(REPORT_SECONDS)
            lag = max(0.0, time.monotonic() - began - REPORT_SECONDS)

    def _say(self, report: Mapping[str, Any]) -> None:
        if not self._unsent:
            self._unsent = json.dumps(report).encode() + b"\n"
        try:
            self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:  # the supervisor is busy or stopped
            return
        except BrokenPipeError:
            raise Orphaned from None


class Signature:
    """Signs in the ledger, for ``mailer doctor``: when, by which clock, and which files it sees.

    ``name`` is one that the successor of ``process`` has, too.
    """

    def __init__(self, writer: GroupCommit, name: str, process: str, files: Path) -> None:
        #: Seconds that the last commit took, with the wait for those before it.
        self.commit_seconds = 0.0
        self._writer = writer
        self._name = name
        self._process = process
        self._files = files

    async def run(self) -> None:
        """For as long as the process lives; a ledger that is away is tried again."""
        while True:
            files = await asyncio.to_thread(fingerprint, self._files)
            facts = {"clock": time.time(), "files": files, "process": self._process}
            began = time.monotonic()
            with suppress(LedgerError):
                await self._writer.run(lambda ledger, facts=facts: ledger.workers.sign(self._name, facts))  # type: ignore[misc]
                self.commit_seconds = time.monotonic() - began
            await asyncio.sleep(SIGN_SECONDS)

    def withdraw(self, ledger: Ledger) -> None:
        """After ``run``, when the process ends because it was told to."""
        ledger.workers.withdraw(self._name, self._process)
