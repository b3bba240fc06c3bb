"""From settings to an office that takes messages, with somebody behind it who delivers them."""

from __future__ import annotations

import atexit
import os
from typing import Any

from mailer import wiring
from mailer.errors import ConfigError
from mailer.ledger import open_ledger
from mailer.ledger.contract import Runner
from mailer.outbox.hints import Hints
from mailer.outbox.kinds import Kinds
from mailer.outbox.office import Announce, Office
from mailer.settings import Settings
from mailer.submission import uwsgi
from mailer.submission.background import Background

#: How long ``close`` waits for hints, of which none is needed.
HINTS_SECONDS = 2.0
#: The same for a process that ends without ``close``, with a mail server that does not answer.
EXIT_SECONDS = 10.0


class Submission:
    """Open in one process. With a broker in the settings workers deliver; without one this process does,
    on a thread of its own. ``deliver`` ("workers" or "background") says it outright."""

    def __init__(self, settings: Settings, deliver: str | None = None, client: str = "") -> None:
        """``client`` keeps several applications' keys apart. Raises ConfigError, LedgerError."""
        uwsgi.warn()
        self.pid = os.getpid()
        self.closed = False
        broker = settings.broker_url
        by_workers = (deliver or ("workers" if broker else "background")) == "workers"
        self._hints = Hints(broker) if by_workers and broker else None
        self._background = None if by_workers else Background(settings)
        self.ledger = open_ledger(settings.ledger_url)
        carrier = self._hints or self._background
        #: Who delivers, and how that one is told of new rows; a hint, as everywhere.
        self.runner = Runner.WORKERS if by_workers else Runner.APPLICATION
        self.announce: Announce = carrier.announce if carrier else lambda ids, stream: None
        self.office = Office(
            self.ledger,
            Kinds(settings.template_root, settings.files_root),
            runner=self.runner,
            backend=lambda wish, stream: wiring.backend_name(settings.for_stream(stream), wish),
            announce=self.announce,
            knows_keys=lambda wish, stream: _knows_keys(settings.for_stream(stream), wish),
            client=client,
        )
        if self._background is not None:
            self._background.start()
        atexit.register(self._at_exit)

    def close(self, seconds: float) -> None:
        """Deliver what was handed over here and is due, for so long at most; what is left is not lost."""
        self.closed = True
        atexit.unregister(self._at_exit)
        if self._hints is not None:
            self._hints.close(min(seconds, HINTS_SECONDS))
        if self._background is not None:
            self._background.close(seconds)
        self.ledger.close()

    def _at_exit(self) -> None:
        """Whoever used it forgot to close it; but what a parent had open is the parent's."""
        if self.pid == os.getpid():
            self.close(EXIT_SECONDS)


def _knows_keys(settings: Settings, wish: str | None) -> dict[str, Any] | None:
    """None where only the workers can use this backend: what they leave unanswered is held then."""
    try:
        return wiring.knows_keys(settings, wish)
    except ConfigError:
        return None
