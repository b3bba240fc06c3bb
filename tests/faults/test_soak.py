"""F40: everything breaks all the time, for as long as ``SOAK_SECONDS`` says; in a test run for a moment."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from tests.faults.works import CONNECTIONS, Works
from tests.servers import wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "3"))
PER_SECOND = 100
#: Five in a hundred are refused for now, once.
RULES = """
[[rule]]
at = "rcpt"
share = 0.05
times = 1
reply = "450 4.3.2 not now"
"""


def weight(pid: int) -> tuple[int, int]:
    """Open files, and resident kilobytes, of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return len(os.listdir(f"/proc/{pid}/fd")), int(status.partition("VmRSS:")[2].split()[0])


@pytest.fixture
async def works(tmp_path, redis_server, mailer_sink):
    works = Works(tmp_path, redis_server.url, mailer_sink(RULES), rate=f'"{PER_SECOND}/s"')
    yield works
    await works.close()


@pytest.mark.slow
async def test_f40_soak(works, tmp_path, redis_server, tcp_proxy, judge):
    """Kills, cuts of the broker and of mail connections, and refusals; one worker lives through it all."""
    rows = int(SECONDS * PER_SECOND)
    proxy = tcp_proxy(works.sink.port)
    settings = tmp_path / "mailer.toml"
    settings.write_text(settings.read_text().replace(works.sink.url, proxy.url))
    campaign = works.world.campaign(rows, retry={"ceilings": [0.5], "floor_seconds": 0.1})
    (survivor,) = works.start()
    works.wait_for_some(campaign, rows // 20)  # by the survivor: it has all that work needs
    files, memory = weight(survivor.pid)
    (victim,) = works.start()
    kills = cuts = 0
    pause = min(60.0, max(3.0, SECONDS / 5))
    with Redis(port=redis_server.port) as redis:
        while not works.finished(campaign):
            victim.kill()
            kills += 1
            (victim,) = works.start()
            redis.client_kill_filter(_type="normal", skipme=True)
            proxy.drop()
            cuts += 1
            until = time.monotonic() + pause * (0.5 + random.random())
            with suppress(TimeoutError):
                wait_until(
                    lambda until=until: works.finished(campaign) or time.monotonic() > until, "a moment", 120
                )
    files_then, memory_then = weight(survivor.pid)

    judge(
        "F40",
        f"a worker killed, Redis and mail connections cut, {kills} times; one in twenty refused for now",
        works.settled(campaign),
        works.copies(),
        rows=rows,
        window=kills * CONNECTIONS + cuts * 2 * CONNECTIONS,
    )
    assert files_then <= files + 2 * CONNECTIONS + 10
    assert memory_then <= memory * 1.25
