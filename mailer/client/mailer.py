"""One object that an application keeps: it hands over messages and says what became of them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from mailer import forks
from mailer.errors import ConfigError
from mailer.outbox.contract import Addresses, Box, Message, Receipt, Status
from mailer.outbox.office import Office
from mailer.settings import Settings
from mailer.submission.rooms import Submission

#: How long ``close`` waits for what was handed over.
CLOSE_SECONDS = 30.0

#: Set by ``mailer.testing``: where the messages of every Mailer go instead.
double: Box | None = None


class Mailer:
    """Safe for threads, and for forks at any time. Make one per process, at import time if you like: nothing
    is opened before the first message.

    A fork waits for the calls under way, and for what delivers here to come to rest: a lock that another
    thread held would stay locked in the child for ever. The child opens all anew with its first message. It
    delivers what it hands over itself; its parent's stays with its parent. After 5 s a fork waits no longer,
    and a warning says so.

    An interpreter that ends closes it, and waits 10 s at most for what is not delivered yet.

    With a broker in the settings, workers deliver. Without one, this process does, on a thread of its own
    (``deliver="background"``); what a crash leaves behind is delivered when a Mailer is started again.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        deliver: str | None = None,
        client: str = "",
        **overrides: Any,
    ) -> None:
        """``overrides`` are settings (``ledger``, ``broker``, ``backend``, ``templates``, ...); the others
        come from ``mailer.toml`` and the environment. ``client`` keeps idempotency keys of several
        applications apart. Raises ConfigError."""
        if deliver not in (None, "workers", "background"):
            raise ConfigError(f"deliver is 'workers' or 'background', not {deliver!r}")
        if not isinstance(settings, Settings | None):
            raise ConfigError("settings are made by Settings.load(FOLDER), with the folder of mailer.toml")
        self._settings = settings
        self._overrides = overrides
        self._deliver = deliver
        self._client = client
        self._lock = threading.Lock()
        self._open: Submission | None = None
        forks.renewed_after_fork(self)

    def send(
        self,
        template: str | None = None,
        *,
        to: Addresses,
        connection: Any = None,
        **message: Any,
    ) -> Receipt:
        """Hand over one message; the keywords are the fields of ``Message``. When it returns, the message is
        stored for good.

        With ``idempotency_key`` the same message is stored once however often it is handed over, for as
        long as its row exists; other content under the same key raises IdempotencyConflict.

        With ``connection`` (SQLAlchemy's, Django's or psycopg's, to the ledger's own PostgreSQL database) it
        is written inside that connection's transaction, and sent within about a second of its commit.

        Raises InputError, with nothing stored, for whatever is wrong with the message (MissingData names
        every variable that is missing); LedgerError when it could not be stored.
        """
        return self.send_many([Message(template, to, **message)], connection=connection)[0]

    def send_many(self, messages: Iterable[Message], *, connection: Any = None) -> list[Receipt]:
        """All of them or none, in one transaction. Raises as ``send``."""
        wishes = list(messages)
        if not wishes:
            return []
        with forks.calls.inside():
            box = self._box()
            if connection is not None and isinstance(box, Office):
                return box.put_through(connection, wishes)
            return box.put(wishes)

    async def send_async(self, template: str | None = None, **message: Any) -> Receipt:
        """``send`` on a thread, for an event loop."""
        return await asyncio.to_thread(partial(self.send, template, **message))

    def status(self, id: str) -> Status:  # noqa: A002 - what a receipt calls it
        """Where this message stands, with every attempt. Raises UnknownMessage."""
        return self._box().status(id)

    def cancel(self, id: str) -> bool:  # noqa: A002 - what a receipt calls it
        """True: it will not be sent. False: it is on its way, or settled. Raises UnknownMessage."""
        return self._box().cancel(id)

    def start(self) -> Self:
        """Deliver what an earlier process left behind, without waiting for the first message."""
        self._box()
        return self

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Deliver what was handed over here and is due, for so long at most; what is left is not lost.
        Used again, it opens again."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None and opened.pid == os.getpid():
            opened.close(seconds)

    def after_fork(self) -> None:
        """In the child, by itself: the thread that delivers, and all that is open, are its parent's."""
        self._lock = threading.Lock()
        self._leave()

    def _leave(self) -> None:
        forks.parents.append(self._open)
        self._open = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _box(self) -> Box:
        if double is not None:
            return double
        with forks.calls.inside(), self._lock:
            if self._open is not None and self._open.pid != os.getpid():
                self._leave()  # forked by something that Python was not told of, as uWSGI does by default
            if self._open is None or self._open.closed:
                # Closed by the end of the process, which other threads do not see yet.
                self._open = Submission(self._read(), self._deliver, self._client)
            return self._open.office

    def _read(self) -> Settings:
        if self._settings is not None and not self._overrides:
            return self._settings
        return Settings.load(**self._overrides)
