"""The tables as Markdown, ready for docs/performance.md, and the plot as SVG."""

from __future__ import annotations

import datetime
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path


def machine() -> str:
    """Where and when this was measured, and how fast the disk is: every mark waits for one flush of it."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{today}, {os.cpu_count()} cores, {model}, Python {platform.python_version()},"
        f" {flushes():,.0f} flushes of the disk a second\n"
    )


def flushes(seconds: float = 1.0) -> float:
    """``fdatasync`` per second after 4 kB each, where the ledgers of the bench lie (``TMPDIR``)."""
    with tempfile.TemporaryFile() as file:
        done, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            os.pwrite(file.fileno(), b"x" * 4096, done * 4096)
            os.fdatasync(file.fileno())
            done += 1
    return done / passed


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def throughput(rows: Sequence[tuple[str, float, float, float]]) -> str:
    return markdown(
        ("sender", "messages/s", "× Nodemailer", "peak MB"),
        (
            (name, f"{rate:,.0f}", f"{ratio:.2f}", f"{peak:.0f}" if peak else "")
            for name, rate, ratio, peak in rows
        ),
    )


def scale(rows: Sequence[tuple[str, int, float, float]]) -> str:
    return markdown(
        ("step", "recipients", "seconds", "µs per recipient", "peak MB"),
        (
            (
                name,
                f"{count:,}",
                f"{seconds:.3g}",
                f"{seconds / count * 1e6:,.0f}",
                f"{peak:.0f}" if peak else "",
            )
            for name, count, seconds, peak in sorted(rows)
        ),
    )


def steps(rows: Sequence[tuple[str, str]]) -> str:
    return markdown(("step", "measured"), rows)


def roundtrip(rows: Sequence[tuple[str, float, float]]) -> str:
    return markdown(
        ("50 ms round trip, 10 connections", "messages/s", "× pipelining off"),
        ((name, f"{rate:,.0f}", f"{ratio:.2f}") for name, rate, ratio in rows),
    )


def plot(rows: Sequence[tuple[str, float, float, float]], file: Path) -> None:
    """A bar per sender, as an SVG that needs nothing to be drawn with."""
    widest = max(rate for _, rate, _, _ in rows)
    bars = []
    for number, (name, rate, ratio, _) in enumerate(rows):
        y = 20 + number * 34
        colour = "#2463eb" if name.startswith("mailer") else "#94a3b8"
        width = rate / widest * 460
        bars.append(
            f'<text x="250" y="{y + 17}" text-anchor="end">{name}</text>'
            f'<rect x="260" y="{y}" width="{width:.0f}" height="24" rx="3" fill="{colour}"/>'
            f'<text x="{266 + width:.0f}" y="{y + 17}">{rate:,.0f}/s ({ratio:.1f}×)</text>'
        )
    height = 40 + len(rows) * 34
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" width="860" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="#0f172a">'
        f'<rect width="860" height="{height}" fill="#ffffff"/>{"".join(bars)}</svg>\n',
        encoding="utf-8",
    )
