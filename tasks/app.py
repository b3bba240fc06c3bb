"""The Celery app of the workers: ``celery -A tasks.app worker``.

Broker and ledger come from the settings, found as every command finds them.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterable
from typing import Any, NoReturn

from celery import Celery, bootsteps
from celery.signals import celeryd_init, setup_logging, worker_shutting_down
from celery.worker import state

from mailer import logs
from mailer.errors import ConfigError, MailerError
from mailer.publisher import configuration, hints_at_once, is_redis
from mailer.settings import Settings
from tasks.connection import Near
from tasks.control import refuse_the_rest
from tasks.runtime import Runtime

#: Seconds from the signal to stop to the end, at most: what is on the wire finishes, the rest is given back.
STOP_SECONDS = 20.0
#: For Celery to stop the engine, and from the end of the engine to that of the process, at most.
END_SECONDS = 4.0

#: What only workers need. Everything that publishers must know too is in ``mailer.publisher``.
WORKER = {
    "worker_pool": "threads",
    # Waiting in a worker counts against the broker's visibility timeout.
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": True,
    # It cannot cancel threads, and would cut an SMTP transaction in half.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # After a reconnect the threads of the pool would ask RabbitMQ for more, on the connection that the main
    # thread reads. Two readers garble a stream, or wait for each other for ever.
    "worker_enable_prefetch_count_reduction": False,
    # A broker that starts on a busy machine gets its time.
    "broker_connection_timeout": 10.0,
    # For ``tasks.control``, which refuses all commands but one.
    "worker_enable_remote_control": True,
    # Events such as Flower shows, only when asked for with --task-events.
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "result_serializer": "json",
    "event_serializer": "json",
}
#: On Redis no more hints are fetched than tasks are free. Were it counted by what is not acknowledged, as
#: with RabbitMQ, each acknowledgement that fails while Redis is away would cost a place for ever (kombu 5.7,
#: ``QoS.ack``), and a worker that has lost them all looks connected and fetches nothing.
WORKER_ON_REDIS = WORKER | {"worker_prefetch_multiplier": 0, "worker_disable_prefetch": True}


#: Of these, what may be set otherwise: no mail depends on it.
AS_YOU_LIKE = {"worker_send_task_events", "worker_enable_remote_control"}


class RuntimeStep(bootsteps.StartStopStep):
    """Starts the engine before the first hint is fetched; stops it before the pool waits for its threads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        if not worker.pool_cls.__module__.endswith("concurrency.thread"):
            _refuse("one event loop serves all tasks of a process: use --pool threads, or leave --pool out")
        refuse_the_rest()
        self._runtime: Runtime | None = None
        self._told = threading.Event()
        self._stopping = threading.Event()

    def start(self, worker: Any) -> None:
        _assert_configuration(worker)
        queues = tuple(worker.app.amqp.queues.consume_from)
        runtime = Runtime(
            worker.app.settings,
            worker=worker_name(worker.hostname),
            on_death=_end,
            queues=queues,
            stream=stream_of(queues),
        )
        try:
            runtime.start()
        except MailerError as error:
            _refuse(str(error))
        self._runtime = worker.app.runtime = runtime
        signal.signal(signal.SIGUSR2, lambda *_: runtime.abandon())
        # The thread is there before the signal: in a handler none can be started safely.
        threading.Thread(target=self._see_it_end, args=[runtime], name="ending", daemon=True).start()
        worker_shutting_down.connect(self._hear, weak=False)

    def stop(self, worker: Any) -> None:
        self._stopping.set()
        if self._runtime is not None:
            self._runtime.stop(STOP_SECONDS)

    terminate = stop

    def _hear(self, **_: Any) -> None:
        self._told.set()

    def _see_it_end(self, runtime: Runtime) -> None:
        """The process ends in time also when its main thread is held: while Redis is away Celery tries to
        tell it of a heartbeat for as long as that takes."""
        self._told.wait()
        _exit_after(STOP_SECONDS + END_SECONDS)
        if not self._stopping.wait(END_SECONDS):
            runtime.stop(STOP_SECONDS - END_SECONDS)
            _exit_after(END_SECONDS)


def make_app(settings: Settings) -> Celery:
    """Raises ConfigError when there is no broker to work for."""
    if settings.broker_url is None:
        raise ConfigError(
            'workers need a broker: broker = "redis://HOST:6379/0" in mailer.toml, or MAILER_BROKER_URL'
        )
    app = Celery("mailer", include=["tasks.deliveries"])
    app.conf.update(configuration(settings.broker_url))
    app.conf.update(worker_only(settings.broker_url))
    app.conf.worker_concurrency = hints_at_once(settings.recipients_per_task)
    app.steps["worker"].add(RuntimeStep)
    app.amqp.Connection = Near
    app.settings = settings
    app.hostname = None
    celeryd_init.connect(_hear_hostname, weak=False)
    setup_logging.connect(_set_up_logs, weak=False)
    return app


def worker_only(broker_url: str) -> dict[str, Any]:
    """The settings that publishers need not know, for this kind of broker."""
    return WORKER_ON_REDIS if is_redis(broker_url) else WORKER


def _hear_hostname(sender: str, **_: Any) -> None:
    """Celery's word for a worker's name, before it sets up logs."""
    app.hostname = sender


def _set_up_logs(**_: Any) -> None:
    """In place of Celery's own; ``--loglevel`` has no say."""
    logs.set_up(app.settings.log_format, app.settings.log_level, app.hostname)


def worker_name(hostname: str) -> str:
    """Of this process alone: nobody else gives back what it holds."""
    return f"{hostname}:{os.getpid()}:{secrets.token_hex(4)}"


def stream_of(queues: Iterable[str]) -> str:
    """Which connections a worker may use: all of them only when it carries nothing but transactional mail."""
    return "bulk" if "bulk" in queues else "transactional"


def _assert_configuration(worker: Any) -> None:
    """The command line, the environment and plug-ins can all change what must not be changed."""
    conf = worker.app.conf
    safe = {"accept_content": ["json"], "task_serializer": "json", "result_backend": None}
    wanted = worker_only(conf.broker_url) | safe
    # --prefetch-multiplier never reaches the configuration.
    found = {name: conf[name] for name in wanted} | {"worker_prefetch_multiplier": worker.prefetch_multiplier}
    for name in wanted.keys() - AS_YOU_LIKE:
        if found[name] != wanted[name]:
            _refuse(f"{name} is {found[name]!r}, and mail is only safe with {wanted[name]!r}")


def _end() -> None:
    """Celery looks at this once a second, and ends the process in good order; unless it is what hangs."""
    state.should_stop = 1
    _exit_after(END_SECONDS)


def _exit_after(seconds: float) -> None:
    last = threading.Timer(seconds, os._exit, [1])
    last.daemon = True
    last.start()


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"mailer worker: {reason}\n")
    raise SystemExit(2)


def _app() -> Celery:
    try:
        return make_app(Settings.load())
    except ConfigError as error:
        _refuse(str(error))


app = _app()
