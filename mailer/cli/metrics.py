"""What ``mailer worker`` shows over HTTP: ``/metrics`` for Prometheus, and ``/healthz``."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mailer.errors import MailerError
from mailer.ledger import open_ledger
from mailer.message import State

#: Counted by workers: name, labels, what it is. docs/operations/ uses these names.
COUNTED: dict[str, tuple[tuple[str, ...], str]] = {
    "settled": (("state", "backend"), "Rows settled; pending and deferred ones come again."),
    "hints": (("what",), "Hints published, claimed, and empty: late, doubled, or nothing was due."),
    "publish_failures": ((), "Hints that the broker did not take."),
    "limit_waits": (("backend",), "Rows that a limit held back."),
    "rests": (("backend",), "How often a backend was left alone after a fault."),
}
#: Measured by each worker process.
MEASURED = {
    "loop_lag": ("loop_lag_seconds", "How late the event loop was in the last second."),
    "commit": ("commit_seconds", "What the last measured commit to the ledger took."),
    "limit_hold": ("limit_hold_seconds", "How long limits still hold back everything that is due."),
    "hints_in_flight": ("hints_in_flight", "Hints that are being worked on."),
}


class Reports:
    """What the workers of one supervisor have said; the sums of those that ended stay in the counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[tuple[str, ...]] = Counter()
        self._deaths: Counter[str] = Counter()
        self._said: dict[int, tuple[str, dict[str, Any]]] = {}

    def hear(self, name: str, pid: int, report: dict[str, Any]) -> None:
        with self._lock:
            self._said[pid] = (name, report)

    def ended(self, name: str, pid: int) -> None:
        with self._lock:
            self._deaths[name] += 1
            _, report = self._said.pop(pid, (name, {}))
            self._ended.update(_counts(report))

    def counts(self) -> Counter[tuple[str, ...]]:
        with self._lock:
            total = self._ended.copy()
            for _, report in self._said.values():
                total.update(_counts(report))
        return total

    def deaths(self) -> dict[str, int]:
        with self._lock:
            return dict(self._deaths)

    def gauges(self) -> dict[str, Mapping[str, float]]:
        """By worker."""
        with self._lock:
            return {name: report["gauges"] for name, report in self._said.values()}


def _counts(report: Mapping[str, Any]) -> dict[tuple[str, ...], int]:
    return {tuple(entry[:-1]): entry[-1] for entry in report.get("counts", ())}


class Collector:
    """Everything at the moment of a scrape. No label holds an address or a secret."""

    def __init__(self, reports: Reports, alive: Callable[[], Mapping[str, bool]], ledger_url: str) -> None:
        self._reports = reports
        self._alive = alive
        self._ledger_url = ledger_url

    def collect(self) -> Iterator[Metric]:
        yield from self._counted()
        yield from self._measured()
        up = GaugeMetricFamily("mailer_worker_up", "1: it has reported lately.", labels=["worker"])
        for name, alive in self._alive().items():
            up.add_metric([name], float(alive))
        yield up
        yield from self._ledger()

    def _counted(self) -> Iterator[Metric]:
        counts = self._reports.counts()
        for name, (labels, text) in COUNTED.items():
            family = CounterMetricFamily(f"mailer_{name}", text, labels=labels)
            # A counter that first appears at 3 has not increased, as Prometheus sees it.
            first: dict[tuple[str, ...], int] = {} if labels else {(name,): 0}
            for key, number in {**first, **counts}.items():
                if key[0] == name:
                    family.add_metric(key[1:], number)
            yield family
        deaths = CounterMetricFamily(
            "mailer_worker_deaths", "Worker processes that ended.", labels=["worker"]
        )
        none = dict.fromkeys(self._alive(), 0)
        for name, number in {**none, **self._reports.deaths()}.items():
            deaths.add_metric([name], number)
        yield deaths

    def _measured(self) -> Iterator[Metric]:
        gauges = self._reports.gauges()
        for key, (name, text) in MEASURED.items():
            family = GaugeMetricFamily(f"mailer_{name}", text, labels=["worker"])
            for worker, values in gauges.items():
                family.add_metric([worker], values.get(key, 0.0))
            yield family
        resting: dict[str, float] = {}
        for values in gauges.values():
            for key, left in values.items():
                if key.startswith("resting:"):
                    backend = key.partition(":")[2]
                    resting[backend] = max(left, resting.get(backend, 0.0))
        family = GaugeMetricFamily(
            "mailer_backend_resting_seconds", "How long it is still left alone.", labels=["backend"]
        )
        for backend, left in resting.items():
            family.add_metric([backend], left)
        yield family

    def _ledger(self) -> Iterator[Metric]:
        """Read anew at every scrape; a ledger that is away costs its own metrics only."""
        up = GaugeMetricFamily("mailer_ledger_up", "1: the ledger could be read.")
        try:
            with closing(open_ledger(self._ledger_url)) as ledger:
                workers = ledger.workers
                rows, oldest, expired = workers.rows(), workers.oldest_due(), workers.expired_leases()
        except MailerError:
            up.add_metric([], 0.0)
            yield up
            return
        up.add_metric([], 1.0)
        yield up
        family = GaugeMetricFamily("mailer_rows", "Rows of all campaigns.", labels=["backend", "state"])
        for backend in {backend for backend, _ in rows}:
            for state in State:  # also those that have no rows yet: to see the first one become unknown
                family.add_metric([backend, state.value], rows.get((backend, state.value), 0))
        yield family
        yield GaugeMetricFamily("mailer_oldest_due_seconds", "The row that waits longest.", oldest)
        yield GaugeMetricFamily("mailer_leases_expired", "Leases that nobody has recovered yet.", expired)


def serve(port: int, host: str, collector: Collector, alive: Callable[[], Mapping[str, bool]]) -> int:
    """Answer on this port from a thread until the process ends; the port, which 0 leaves open.

    Raises OSError when it is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/healthz":
                workers = dict(alive())
                code = 200 if workers and all(workers.values()) else 503
                self._answer(code, "application/json", [json.dumps(workers).encode(), b"\n"])
            elif self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, [generate_latest(registry)])
            else:
                self._answer(404, "text/plain", [b"/metrics or /healthz\n"])

        def _answer(self, code: int, kind: str, parts: Iterable[bytes]) -> None:
            with suppress(ConnectionError):  # who asked did not wait for the answer
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.writelines(parts)

        def log_message(self, *_: Any) -> None:
            """A scrape every few seconds is no news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_address[1])
