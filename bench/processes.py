"""Start what is measured, count what arrived, and say how long and how large it was."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
SMTP_SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SMTP_SOURCE = shutil.which("smtp-source", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Finished:
    """One measured process: wall time, peak resident memory of its largest process, what it printed."""

    seconds: float
    peak_mb: float
    output: str

    def last_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.output.strip().splitlines()[-1]))


class Sink:
    """Postfix's ``smtp-sink``, counting only."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    def count(self) -> int:
        """Messages taken since the start."""
        time.sleep(0.2)  # it prints a beat later
        found = re.findall(r"mesg=(\d+)", self._log.read_text())
        return int(found[-1]) if found else 0


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    if SMTP_SINK is None:
        raise SystemExit("bench needs Postfix's smtp-sink: run scripts/install-test-servers.sh")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = ["-u", "root"] if os.geteuid() == 0 else []
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(
            [SMTP_SINK, "-c", *user, f"127.0.0.1:{port}", "1000"], stdout=log, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(port)
            yield Sink(port, Path(log.name))
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def run(argv: Sequence[str], folder: Path, *, allow: Sequence[int] = (0,)) -> Finished:
    """Run one process to its end, with the repository importable and Node's modules found."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NODE_PATH": str(ROOT / "bench" / "node_modules"),
    }
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(argv, cwd=folder, env=environment, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        if process.returncode not in allow:
            raise SystemExit(f"{' '.join(argv)} ended with {process.returncode}:\n{err.read()[-2000:]}")
        return Finished(seconds, usage.ru_maxrss / 1024, out.read())


def mailer(*arguments: str) -> list[str]:
    """Our own command line, from this very environment."""
    return [sys.executable, "-m", "mailer", *arguments]
