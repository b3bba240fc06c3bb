"""Puts hints on the broker. The only module of the library that imports Celery, and only when used.

An application that imports ``mailer`` keeps its own Celery app: ours is never made the current one.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mailer.errors import BrokerUnavailable, ConfigError

if TYPE_CHECKING:
    from celery import Celery

#: Part of the wire format, like the argument: one list of row ids of one campaign.
TASK = "mailer.deliver"
QUEUES = ("bulk", "transactional")
#: Where workers hear what is for all of them: a fanout exchange, and a queue of each worker's own.
CONTROL = "control"
#: The one thing that is said there, without an argument: the ledger was changed, look at it now.
HEED = "mailer.heed"
#: Everything of ours in Redis begins with this: who shares a database shares the shortest visibility timeout.
PREFIX = "mailer:"
#: A queue of one connection only would be refused to a worker whose old connection RabbitMQ still takes for
#: alive, and the worker would end of that. This one goes ten seconds after its worker.
CONTROL_ON_RABBITMQ = {"control_queue_exclusive": False, "control_queue_durable": True}
#: A publisher gives up after about this many seconds per attempt, whatever the broker does.
PATIENCE = 2.0
#: The options of kombu's transports that say how long to wait, in seconds.
_WAITS = frozenset({"socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout"})
#: Recipients that one worker process has claimed at once: enough to keep its connections busy, and no
#: more than it can give back quickly.
CLAIMED_AT_ONCE = 800
#: Names the pipe to the supervisor: a JSON line a second. Its other end closed, the supervisor has died.
REPORT_FD = "MAILER_REPORT_FD"


class Publisher:
    """Publishes hints. One thread at a time; connects with the first hint, and again after a failure."""

    def __init__(self, broker_url: str) -> None:
        """Raises ConfigError when Celery is not installed or the URL is of no kind that it knows."""
        self._url = broker_url
        self._app = client(broker_url)
        self._producers = _producers(self._app)

    def publish(self, ids: Sequence[int], queue: str = "bulk") -> None:
        """Returns when the broker has it. Raises BrokerUnavailable; the hint may have been taken even so."""
        with _translated(self._url), self._producers.acquire(block=True) as producer:
            self._app.send_task(
                TASK,
                args=(list(ids),),
                queue=queue,
                producer=producer,
                ignore_result=True,
                retry=False,
                confirm_timeout=PATIENCE,
                argsrepr="",
                kwargsrepr="",
            )

    def waiting(self, queues: Sequence[str]) -> int:
        """Hints in these queues that no worker has fetched. Raises BrokerUnavailable."""
        with _translated(self._url), self._app.connection_for_read() as connection:
            return sum(_waiting(connection, queue) for queue in queues)

    def close(self) -> None:
        self._producers.connections.force_close_all()
        self._app.close()


def _waiting(connection: Any, queue: str) -> int:
    """RabbitMQ has no queue before the first worker, and none shall be made by looking.

    In Redis there is nothing to make; and there kombu looks for a passive one without our prefix (EXISTS
    is not among the commands that get it), and finds none.
    """
    passive = connection.transport.driver_type != "redis"
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=passive).message_count)
        except connection.channel_errors:
            return 0


def ping(broker_url: str) -> float:
    """Log in, and send a word through a queue of its own: the seconds from publishing to fetching.

    Leaves nothing behind. Raises BrokerUnavailable or ConfigError within a few seconds.
    """
    app = client(broker_url)
    try:
        with _translated(broker_url), app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
            return _round_trip(connection)
    finally:
        app.close()


def _round_trip(connection: Any) -> float:
    with connection.channel() as channel:
        name = f"mailer.probe.{secrets.token_hex(8)}"
        channel.queue_declare(queue=name, durable=False, exclusive=True, auto_delete=True)
        try:
            began = time.monotonic()
            producer = connection.Producer(channel)
            producer.publish("probe", routing_key=name, retry=False, delivery_mode="transient")
            while channel.basic_get(name, no_ack=True) is None:
                if time.monotonic() - began > PATIENCE:
                    raise TimeoutError(f"it took a message and did not give it back within {PATIENCE:.0f} s")
                time.sleep(0.005)
            return time.monotonic() - began
        finally:
            channel.queue_delete(name)


def worker_argv(
    queues: Sequence[str] = ("transactional", "bulk"), name: str = "mailer", concurrency: int | None = None
) -> list[str]:
    """The command of one worker process: ``name`` must differ between those of one machine.

    ``concurrency`` is hints at once; the connections to mail servers are the backends' own. Default: what
    fits the size of the hints.
    """
    _need_celery()
    if concurrency is None and list(queues) == ["transactional"]:
        concurrency = hints_at_once(1)
    return [
        *(sys.executable, "-m", "celery", "--quiet", "--app", "tasks.app", "worker"),
        *("--queues", ",".join(queues), "--hostname", f"{name}@%h"),
        *(("--concurrency", str(concurrency)) if concurrency else ()),
        *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
    ]


def hints_at_once(recipients_per_task: int) -> int:
    """A hint mostly waits for the ledger and for mail servers: the smaller, the more at once."""
    return min(max(CLAIMED_AT_ONCE // recipients_per_task, 4), 32)


def configuration(broker_url: str) -> dict[str, Any]:
    """What publishers and workers agree on. The reasons are in docs/several-machines.md."""
    return {
        "broker_url": broker_url,
        "broker_transport_options": _transport_options(broker_url),
        "broker_connection_timeout": PATIENCE,
        "task_queues": {name: {"exchange": name, "routing_key": name} for name in QUEUES},
        "task_default_queue": "bulk",
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "control_exchange": CONTROL,
    } | ({} if is_redis(broker_url) else CONTROL_ON_RABBITMQ)


def safe_url(broker_url: str) -> str:
    """The URL as it may be shown: without user and password."""
    try:
        parts = urlsplit(broker_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "the broker"


def client(broker_url: str) -> Celery:
    """An app of one who publishes: it waits for nothing longer than ``PATIENCE``. Raises ConfigError."""
    _need_celery()
    from celery import Celery

    _check(broker_url)
    app = Celery("mailer", set_as_current=False, fixups=[])
    app.conf.update(configuration(broker_url))
    options = app.conf.broker_transport_options
    for name in _WAITS & options.keys():
        options[name] = PATIENCE
    return app


def _producers(app: Celery) -> Any:
    """Its own. Kombu's are common to all of a process that have the same broker, and a forked child would
    write to its parent's connection."""
    from kombu.pools import ProducerPool

    pool: Any = ProducerPool  # it has no types
    return pool(app.connection_for_write().Pool(limit=1), limit=1)


def _check(broker_url: str) -> None:
    from kombu.transport import resolve_transport

    try:
        _ = urlsplit(broker_url).port
        resolve_transport(broker_url.partition("://")[0])
    except Exception as error:  # noqa: BLE001 - kombu says KeyError, ImportError, ValueError, ...
        raise ConfigError(
            f"the broker URL {safe_url(broker_url)} cannot be used ({_reason(error, broker_url)}); "
            "write redis://HOST:6379/0"
        ) from None


def _need_celery() -> None:
    try:
        import celery  # noqa: F401 - only whether it is there
    except ImportError:
        raise ConfigError("the broker needs Celery: pip install 'mailer-worker[worker]'") from None


def is_redis(broker_url: str) -> bool:
    """Whether kombu reaches this broker by its Redis transport; else it is taken for RabbitMQ."""
    return broker_url.startswith(("redis", "unix", "sentinel"))


def _transport_options(broker_url: str) -> dict[str, Any]:
    if not is_redis(broker_url):
        # For answers, as while it connects: a worker reads hints only when there are some. Publishers set
        # their own.
        return {"confirm_publish": True, "read_timeout": 20, "write_timeout": 10}
    return {
        # Counted from the fetch. A task that runs longer is run again elsewhere, which claims nothing.
        "visibility_timeout": 900,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "global_keyprefix": PREFIX,
    }


@contextmanager
def _translated(broker_url: str) -> Iterator[None]:
    """Celery, kombu and the client libraries raise what they like, and some of it shows the password."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the seam where foreign errors end
        raise BrokerUnavailable(f"the broker {safe_url(broker_url)}: {_reason(error, broker_url)}") from None


def _reason(error: Exception, broker_url: str) -> str:
    """One line of what went wrong, without the password in any of its spellings."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    password = urlsplit(broker_url).password or ""
    for secret in {password, unquote(password)} - {""}:
        text = text.replace(secret, "***")
    return text
