"""Who was written to, in no log and nowhere in the broker, whatever servers say of them."""

from __future__ import annotations

import re
import threading

import pytest
from redis import Redis

from mailer.message import State
from tests.faults.works import Works

ROWS = 60
#: They quote the address, as servers do.
RULES = """
[[rule]]
at = "rcpt"
share = 0.2
reply = "550 5.1.1 <canary-1@private.example>: Recipient address rejected: canary-1@private.example"

[[rule]]
at = "dot"
share = 0.2
times = 1
reply = "451 4.3.0 canary-2@private.example: try again"

[[rule]]
drop = "after-dot"
share = 0.05
"""


class Monitor:
    """Every command that Redis is given, in the clear."""

    def __init__(self, port: int) -> None:
        self.seen: list[str] = []
        self._redis = Redis(port=port)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self._ready.wait()

    def _listen(self) -> None:
        with self._redis.monitor() as monitor:
            self._ready.set()
            for command in monitor.listen():
                self.seen.append(str(command["command"]))
                if "that-is-all" in self.seen[-1]:
                    return

    def close(self) -> str:
        with Redis(port=self._redis.connection_pool.connection_kwargs["port"]) as other:
            other.set("that-is-all", 1)
        self._thread.join()
        self._redis.close()
        return "\n".join(self.seen)


@pytest.fixture
async def works(tmp_path, redis_server, mailer_sink, monkeypatch):
    monkeypatch.setenv("MAILER_LOG_LEVEL", "debug")
    works = Works(tmp_path, redis_server.url, mailer_sink(RULES))
    yield works
    await works.close()


async def test_f39_nobody_is_named_in_logs_or_in_the_broker(works, redis_server, judge):
    monitor = Monitor(redis_server.port)
    soon = {"ceilings": [0.5], "floor_seconds": 0.1}
    campaign = works.world.campaign(ROWS, address="canary-{n}@private.example", retry=soon)
    works.start()
    works.wait_for_end(campaign)
    told = monitor.close()
    log = works.log()

    states = works.settled(campaign)
    summary = works.sink.stop()
    assert {*summary["refused"], *summary["dropped"]} == {"rcpt 550", "dot 451", "after-dot"}
    assert "mailer.deliver" in told
    assert "DEBUG" in log
    assert re.findall(r"canary|private\.example", log) == []
    assert "canary" not in told
    judge(
        "F39",
        "servers quote addresses, and everything is logged: they are in no log and not in Redis",
        states,
        works.copies(),
        rows=ROWS,
        window=sum(summary["dropped"].values()),
        refused=states.get(State.REJECTED, 0),
    )
