"""What uWSGI does in its own way: it may run no threads, and forks without telling Python.

Tried with 2.0.24 and 2.0.31. Without threads, as the older ones are by default, a thread goes on only while a
request runs, and mail left at the end of the worker. Without the fork hooks a worker hung for ever in its
first call when a thread was at work at the fork: the interpreter's own lock was that thread's.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

log = logging.getLogger(__name__)


def warn() -> None:
    """Say what is wrong with how uWSGI was set up, if it runs this process."""
    server: Any = sys.modules.get("uwsgi")  # uWSGI puts it there, and nobody else can
    if server is None or not hasattr(server, "has_threads"):
        return
    if not server.has_threads:
        log.warning("uWSGI lets no threads run, so nothing is sent in time: set enable-threads = true")
    if _will_fork(server) and "py-call-uwsgi-fork-hooks" not in server.opt:
        log.warning(
            "uWSGI forks this process, which has sent mail already, and its workers may hang: set"
            " py-call-uwsgi-fork-hooks = true or lazy-apps = true"
        )


def _will_fork(server: Any) -> bool:
    many: bool = "master" in server.opt or server.numproc > 1
    return many and server.worker_id() == 0
