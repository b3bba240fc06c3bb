"""A worker's connection to the broker, which may break at any time."""

from __future__ import annotations

from typing import Any

from kombu.connection import Connection

#: How often a broker that is away is tried.
RECONNECT = {"interval_start": 0.5, "interval_step": 0, "interval_max": 0.5}


class Near(Connection):
    """Tries a broker that is away twice a second. Celery's waits grow to half a minute, and for so long a
    worker would be deaf after the broker's return.

    After a break Celery closes the connection twice, and still acknowledges on its channels what was under
    way. kombu's Redis channels then look for the server's address in a transport that has forgotten it, and
    that AttributeError ends the worker. Here it is kept, so they find the server, or fail with a connection
    error, which Celery expects.
    """

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        return super().ensure_connection(*args, **options, **RECONNECT)  # type: ignore[no-untyped-call]  # kombu

    def _do_close_transport(self) -> None:
        transport = self._transport
        super()._do_close_transport()  # type: ignore[no-untyped-call]  # kombu
        if transport is not None:
            transport.client = self
