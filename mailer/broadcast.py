"""Tells all workers that the ledger was changed: a hint. Without it they see that within a second."""

from __future__ import annotations

import logging
import threading
import time

from mailer.publisher import HEED, PATIENCE, client

log = logging.getLogger(__name__)

#: Later than this after a COMMIT every worker has looked by itself, and there is nothing left to tell.
USEFUL_SECONDS = 1.0


class Broadcast:
    """On a thread of its own, with a connection for each word: whoever calls waits for no broker, and hears
    of no failure. Without a broker there is nobody to tell.
    """

    def __init__(self, broker_url: str | None) -> None:
        self._url = broker_url
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._asked_at = 0.0

    def heed(self) -> None:
        """To be called after the COMMIT. Returns at once; several that meet are one."""
        if self._url is None:
            return
        with self._lock:
            self._wanted, self._asked_at = True, time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, args=[self._url], daemon=True)
                self._thread.start()

    def close(self, seconds: float | None = None) -> None:
        """Wait for what is on its way while it can be of use; default: ``USEFUL_SECONDS`` after ``heed``."""
        thread = self._thread
        if thread is not None:
            seconds = USEFUL_SECONDS if seconds is None else seconds
            thread.join(max(0.0, self._asked_at + seconds - time.monotonic()))

    def _run(self, broker_url: str) -> None:
        while self._is_wanted():
            try:
                _tell(broker_url)
            except Exception as error:  # noqa: BLE001 - a broker that is away costs the hint, whatever it raises
                log.debug("workers not told, they see within a second: %s", type(error).__name__)

    def _is_wanted(self) -> bool:
        with self._lock:
            wanted, self._wanted = self._wanted, False
            if not wanted:
                self._thread = None
            return wanted


def _tell(broker_url: str) -> None:
    """As Celery's own remote control does it, which would try again for ever."""
    app = client(broker_url)
    try:
        exchange = app.control.mailbox.exchange
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
            with connection.channel() as channel:
                connection.Producer(channel, auto_declare=False).publish(
                    {"method": HEED, "arguments": {}, "destination": None, "pattern": None, "matcher": None},
                    exchange=exchange,
                    declare=[exchange],
                    retry=False,
                    serializer="json",
                    delivery_mode="transient",
                )
    finally:
        app.close()
