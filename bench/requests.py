"""What ``mailer serve`` takes on one core: ``python -m bench requests``.

The server has a broker in its settings that is not there, so nothing is delivered meanwhile. Clients run on
another core, over connections that stay open.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mailer.ledger import open_ledger
from mailer.outbox import access

CONNECTIONS = 16
SETTINGS = 'broker = "redis://127.0.0.1:1/0"\n[backends.main]\nurl = "file:out"\n'
TEMPLATE = 'from = "Acme <a@acme.example>"\nsubject = "Order {{ number }}"\nvariables = ["number", "total"]\n'
BODY = "<h1>Thank you, {{ name }}</h1>\n<p>Order {{ number }}: you paid {{ total }}.</p>\n" * 5


def message(n: int) -> dict[str, object]:
    data = {"name": "Ada", "number": n, "total": "12.50"}
    return {"template": "receipt", "to": f"person{n}@example.org", "data": data}


async def _connection(port: int, key: str, path: str, bodies: list[bytes]) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    took = []
    for body in bodies:
        begun = time.perf_counter()
        lines = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(lines.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 202"), answer
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None, answer
        await reader.readexactly(int(length[1]))
        took.append(time.perf_counter() - begun)
    writer.close()
    return took


async def _load(port: int, key: str, path: str, bodies: list[bytes], connections: int) -> dict[str, float]:
    parts = [bodies[n::connections] for n in range(connections)]
    begun = time.perf_counter()
    took = await asyncio.gather(*(_connection(port, key, path, part) for part in parts))
    seconds = time.perf_counter() - begun
    each = sorted(one for part in took for one in part)
    return {
        "per_second": len(bodies) / seconds,
        "p50": each[len(each) // 2],
        "p99": each[len(each) * 99 // 100],
    }


def measure(singles: int, batches: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="mailer-bench-") as name:
        folder = Path(name)
        (folder / "mailer.toml").write_text(SETTINGS)
        (folder / "templates/receipt").mkdir(parents=True)
        (folder / "templates/receipt/mail.toml").write_text(TEMPLATE)
        (folder / "templates/receipt/body.html").write_text(BODY)
        ledger = open_ledger(f"sqlite:///{folder}/mailer.db")
        key = access.create(ledger, scopes=["send"])
        ledger.close()
        command = [sys.executable, "-m", "mailer", "serve", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        os.sched_setaffinity(server.pid, {0})
        os.sched_setaffinity(0, {1} & os.sched_getaffinity(0) or {0})
        try:
            assert server.stderr is not None
            port = next(int(found[1]) for line in server.stderr if (found := re.search(r":(\d+);", line)))
            one = [json.dumps(message(n)).encode() for n in range(singles)]
            many = [
                json.dumps({"messages": [message(n) for n in range(1000)]}).encode() for _ in range(batches)
            ]
            asyncio.run(_load(port, key, "/v1/messages", one[:200], CONNECTIONS))
            before = _cpu(server.pid)
            single = asyncio.run(_load(port, key, "/v1/messages", one, CONNECTIONS))
            single["cpu_us"] = (_cpu(server.pid) - before) / singles * 1e6
            before = _cpu(server.pid)
            batch = asyncio.run(_load(port, key, "/v1/messages/batch", many, 2))
            batch["per_second"] *= 1000
            batch["cpu_us"] = (_cpu(server.pid) - before) / batches / 1000 * 1e6
        finally:
            server.terminate()
            server.wait()
    return {"single": single, "batch of 1,000": batch}


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table() -> list[tuple[str, ...]]:
    """``BENCH_REQUESTS`` (3000) single requests and ``BENCH_BATCHES`` (10) of 1,000 messages."""
    sizes = int(os.environ.get("BENCH_REQUESTS", "3000")), int(os.environ.get("BENCH_BATCHES", "10"))
    targets = {"single": "≥ 700", "batch of 1,000": "≥ 10,000"}
    return [
        (
            f"{what} (target {targets[what]})",
            f"{values['per_second']:,.0f}",
            f"{values['p50'] * 1e3:.1f} ms",
            f"{values['p99'] * 1e3:.1f} ms",
            f"{values['cpu_us']:.0f} µs",
        )
        for what, values in measure(*sizes).items()
    ]
