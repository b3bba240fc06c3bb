"""Limits in Redis: takes per second, and how near four greedy processes come to a limit.

``python -m bench.limits URL SECONDS RATE`` is one of them: it says that it is ready, waits for a line, takes
what it can get, and prints its grant log and when it was answered.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import payload
from bench.processes import sink
from bench.workers import enqueue, workers
from mailer.delivery.limits.plan import BackendRates, Limits, SenderRates
from mailer.delivery.limits.redis import RedisLimiter
from mailer.ledger import migrate

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("backend:main",)


def takes() -> str:
    """One after the other, and 64 callers at once, which share their calls."""
    from tests.servers import redis_server

    with redis_server() as server:
        one, many = (asyncio.run(_takes(server.url, callers)) for callers in (1, 64))
    return f"{one:,.0f} takes/s by one, {many:,.0f} by 64"


def four(seconds: float = 60.0, rate: int = 200) -> str:
    from tests.servers import redis_server

    with redis_server() as server:
        log, _ = grant_log(server.url, seconds, rate)
    span = log[-1][0] - log[0][0]
    granted = sum(count for _, count in log)
    return f"{granted / span:.1f}/s over {span:.0f} s; most in any second {fullest(log)}"


def at_the_sink(seconds: float = 60.0, rate: int = 200) -> str:
    """What arrives from four worker processes, from five seconds after the first message on."""
    from tests.servers import redis_server

    with redis_server() as redis, sink() as server, tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), int(rate * (seconds + 20))
        payload.write(folder, count)
        (folder / "mailer.toml").write_text(
            f'ledger = "sqlite:///{folder}/bench.db"\nbroker = "{redis.url}"\n'
            f'[backends.sink]\nurl = "smtp://127.0.0.1:{server.port}?tls=none"\nrate = "{rate}/s"\n'
        )
        migrate(f"sqlite:///{folder}/bench.db")
        enqueue(folder)
        with workers(folder, 4):
            while not server.count():
                time.sleep(0.1)
            time.sleep(5.0)
            before, start = server.count(), time.monotonic()
            time.sleep(seconds)
            arrived, span = server.count() - before, time.monotonic() - start
    return f"{arrived / span:.1f}/s over {span:.0f} s"


def grant_log(url: str, seconds: float, rate: int) -> tuple[list[tuple[float, int]], list[float]]:
    """What four processes were granted, by Redis' time, and when one was answered, by this machine's."""
    command = [sys.executable, "-m", "bench.limits", url, str(seconds), str(rate)]
    pipe = subprocess.PIPE
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(4)]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()  # it has imported everything
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    told = [json.loads(child.communicate(timeout=seconds + 120)[0]) for child in children]
    return (
        sorted((at, count) for log, _ in told for at, count in log),
        sorted(at for _, answered in told for at in answered),
    )


def fullest(log: list[tuple[float, int]], seconds: float = 1.0) -> int:
    """Grants in the fullest window of so many seconds."""
    most = inside = first = 0
    for at, count in log:
        inside += count
        while log[first][0] <= at - seconds:
            inside -= log[first][1]
            first += 1
        most = max(most, inside)
    return most


async def _takes(url: str, callers: int, seconds: float = 2.0) -> float:
    main = BackendRates(("1000000/s", "100000000/d"), lanes={"gmail": ("1000000/s",)})
    limits = Limits({"main": main}, {"acme.example": SenderRates(("1000000/s",))})
    keys = limits.keys_for("main", "gmail", sender="acme.example")
    limiter = RedisLimiter(limits, url)
    await limiter.take(keys, 1)  # connects and loads the script
    until = time.perf_counter() + seconds

    async def caller() -> int:
        taken = 0
        while time.perf_counter() < until:
            taken += (await limiter.take(keys, 1)).granted
        return taken

    taken = sum(await asyncio.gather(*(caller() for _ in range(callers))))
    await limiter.close()
    return taken / seconds


async def _greedy(url: str, seconds: float, rate: str) -> tuple[list[tuple[float, int]], list[float]]:
    log: list[tuple[float, int]] = []
    answered: list[float] = []
    limits = Limits({"main": BackendRates((f"{rate}/s",))})
    limiter = RedisLimiter(limits, url, grant_log=lambda _, granted, at: log.append((at, granted)))
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.time() + seconds
    while time.time() < end:
        grant = await limiter.take(KEYS, 50)
        answered.append(time.time())
        await asyncio.sleep(grant.wait)
    await limiter.close()
    return log, answered


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_greedy(sys.argv[1], float(sys.argv[2]), sys.argv[3]))))
