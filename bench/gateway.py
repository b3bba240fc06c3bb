"""Messages that ``mailer gateway`` takes per second, each durable before its 250; aiosmtpd beside it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.processes import ROOT, SMTP_SOURCE, mailer, run
from tests.servers import Process, free_port, postgres_server, redis_server

#: Octets of a message, as everywhere in this bench.
OCTETS = 3700
CONNECTIONS = 50


def measure(count: int) -> list[tuple[str, str]]:
    """(what, messages/s): connections that stay, and one for each message."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(redis_server()).url
        postgres = stack.enter_context(postgres_server(durable=True))
        found = []
        for name, ledger in (("SQLite", "sqlite:///mailer.db"), ("PostgreSQL", postgres.create("gateway"))):
            with _gateway(broker, ledger) as port:
                found.append((f"`mailer gateway`, {name} (target ≥ 1,000)", _said(port, count)))
        with _rival() as port:
            found.append(("aiosmtpd that takes and forgets", _said(port, count)))
        return found


def _said(port: int, count: int) -> str:
    kept, fresh = (_rate(port, count, options) for options in (["-d"], []))
    return f"{kept:,.0f}/s; with a connection per message {fresh:,.0f}/s"


def _rate(port: int, count: int, options: Sequence[str]) -> float:
    if SMTP_SOURCE is None:
        raise SystemExit("bench needs Postfix's smtp-source: run scripts/install-test-servers.sh")
    argv = [SMTP_SOURCE, *options, "-s", str(CONNECTIONS), "-l", str(OCTETS), "-f", "shop@acme.example"]
    argv += ["-t", "ann@example.org", "-m", str(count), f"127.0.0.1:{port}"]
    return count / run(argv, ROOT).seconds


@contextlib.contextmanager
def _gateway(broker: str, ledger: str) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        Path(folder, "mailer.toml").write_text(
            f'ledger = "{ledger}"\nbroker = "{broker}"\n[backends.main]\nurl = "memory:"\n'
            f'[gateway]\nport = {port}\nallow_networks = ["127.0.0.0/8"]\n'
        )
        with _process(mailer("gateway"), port, Path(folder)):
            yield port


@contextlib.contextmanager
def _rival() -> Iterator[int]:
    script = ROOT / "bench" / "rivals" / "aiosmtpd_accept.py"
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        _process([sys.executable, str(script), str(port)], port, Path(folder)),
    ):
        yield port


@contextlib.contextmanager
def _process(argv: Sequence[str], port: int, folder: Path) -> Iterator[None]:
    process = Process(argv, folder / "log", cwd=folder, stdout=subprocess.DEVNULL)
    try:
        process.wait_for_port(port)
        time.sleep(0.2)
        yield
    finally:
        process.stop()
