"""Everybody who does the work: each sends ``count`` messages to the sink and says how long that took."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ROOT, SMTP_SOURCE, Sink, mailer, run

RIVALS = ROOT / "bench" / "rivals"


@dataclass(frozen=True)
class Run:
    """One sender's run: how many, how long sending took, how long the whole command took."""

    sent: int
    seconds: float
    whole: float
    peak_mb: float

    @property
    def rate(self) -> float:
        return self.sent / self.seconds

    @property
    def whole_rate(self) -> float:
        return self.sent / self.whole


def ours(processes: int, *, port: int | None = None, options: str = "") -> Callable[[Sink, Path, int], Run]:
    """``mailer send``, from first claim to last settle; ``whole`` includes preflight and opening.

    ``port`` goes through a proxy instead of straight to the sink; ``options`` join the backend's URL.
    """

    def send(sink: Sink, folder: Path, count: int) -> Run:
        ledger = folder / "bench.db"
        for file in folder.glob("bench.db*"):
            file.unlink()
        backend = f"smtp://127.0.0.1:{port or sink.port}?tls=none{options}"
        where = ("--ledger", f"sqlite:///{ledger}", "--backend", backend)
        done = run(
            mailer("send", "campaign.toml", "--yes", "--json", "--processes", str(processes), *where), folder
        )
        status = done.last_json()
        if status["counts"]["accepted"] != count:
            raise SystemExit(f"accepted {status['counts']['accepted']} of {count}: {status}")
        return Run(count, steady(ledger), done.seconds, done.peak_mb)

    return send


def steady(ledger: Path) -> float:
    """Seconds from the first claim to the last settlement, as the ledger itself recorded them."""
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        first, last = connection.execute(
            "SELECT (SELECT started_at FROM campaign), (SELECT max(settled_at) FROM message)"
        ).fetchone()
    return float(last - first)


def rival(*argv: str) -> Callable[[Sink, Path, int], Run]:
    """A program of ``rivals/`` that takes port, count and folder, and prints ``{"sent", "seconds"}``."""

    def send(sink: Sink, folder: Path, count: int) -> Run:
        done = run([*argv, str(sink.port), str(count), str(folder)], folder)
        told = done.last_json()
        return Run(told["sent"], told["seconds"], done.seconds, done.peak_mb)

    return send


def smtp_source(sink: Sink, folder: Path, count: int) -> Run:
    """Postfix's own load generator over 10 kept connections: no rendering, no records; the ceiling."""
    started = time.perf_counter()
    done = run(
        [str(SMTP_SOURCE), "-d", "-s", "10", "-m", str(count), "-l", "4000", f"127.0.0.1:{sink.port}"], folder
    )
    seconds = time.perf_counter() - started
    return Run(count, seconds, seconds, done.peak_mb)


def available() -> dict[str, Callable[[Sink, Path, int], Run]]:
    """Senders by name, those that this machine can run; Nodemailer is the reference."""
    senders = {
        "mailer, 1 process": ours(1),
        "mailer, 2 processes": ours(2),
        "aiosmtplib + EmailMessage": rival(sys.executable, str(RIVALS / "aiosmtplib_message.py")),
        "smtplib + EmailMessage": rival(sys.executable, str(RIVALS / "smtplib_message.py")),
    }
    if shutil.which("node") and (ROOT / "bench" / "node_modules" / "nodemailer").is_dir():
        senders["Nodemailer, pool of 10"] = rival("node", str(RIVALS / "nodemailer.cjs"))
    if SMTP_SOURCE:
        senders["Postfix smtp-source"] = smtp_source
    return senders
