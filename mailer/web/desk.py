"""What the routes work with."""

from __future__ import annotations

from mailer.broadcast import Broadcast
from mailer.errors import FieldError
from mailer.settings import Settings
from mailer.submission.rooms import Submission
from mailer.web.gate import Gate
from mailer.web.threads import Threads

#: How long what was handed over is still delivered when the server stops, without workers.
CLOSE_SECONDS = 20.0


class Desk:
    """Open from the start of the server to its end."""

    def __init__(self, settings: Settings, processes: int = 1) -> None:
        """Raises ConfigError, LedgerError."""
        self.settings = settings
        self.threads = Threads()
        self.submission = Submission(settings)
        self.ledger = self.submission.ledger
        self.office = self.submission.office
        self.broadcast = Broadcast(settings.broker_url)
        self.max_body = settings.api.max_body
        self.gate = Gate(
            self.submission, self.threads, queue_limit=settings.api.queue_limit, processes=processes
        )
        self._backends = frozenset([*settings.backends, *settings.routes])

    def known_backend(self, wish: str | None) -> None:
        """A URL would let whoever holds a key send this server's mail anywhere. Raises FieldError."""
        if wish is not None and wish not in self._backends:
            raise FieldError("there is no backend of this name", column="backend")

    def close(self) -> None:
        self.threads.close()
        self.broadcast.close()
        self.submission.close(CLOSE_SECONDS)
