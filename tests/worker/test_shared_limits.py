"""Limits and connections of real workers, which share them through their broker's Redis."""

import json
import sqlite3
import time
from collections import defaultdict
from contextlib import closing

import pytest
from redis import Redis

from mailer.delivery.limits import plan, slowing
from mailer.message import State
from tests.forked import celery
from tests.servers import wait_until
from tests.working import worker, write_settings

#: Bulk mail leaves a tenth of the hour to transactional mail.
ROWS, HOUR, ALLOWED = 300, 100, 90


@pytest.mark.slow
def test_workers_share_an_hour_and_the_connections_even_when_redis_forgets_them(
    tmp_path, world, redis_server, mailer_sink
):
    sink = mailer_sink(max_connections=2)
    write_settings(
        tmp_path, broker=redis_server.url, backend=sink.url, rate=f'"{HOUR}/h"', connections=3
    )  # one of them is reserved for transactional mail
    campaign = world.campaign(ROWS)

    def accepted():
        return world.states(campaign).get(State.ACCEPTED, 0)

    with Redis(port=redis_server.port) as redis:

        def filling():
            return redis.hget("mailer:{limits}:filling", "filling")

        with worker(tmp_path, "w1"), worker(tmp_path, "w2"):
            wait_until(lambda: accepted() >= ALLOWED, "the hour is used up")
            before = filling()
            redis.flushall()
            wait_until(lambda: filling() not in (before, None), "Redis filled again")
            settled = float(redis.hget("mailer:{limits}:filling", "open_at"))
            wait_until(lambda: redis.time()[0] > settled + 1, "everybody has said what he knows")
            assert redis.exists("mailer:{limits}:backend:main")

    assert accepted() == ALLOWED
    assert sink.count() == ALLOWED
    assert sink.stop()["refused"] == {}


#: Accepted before the server asks for less.
BEFORE = 300
LANE = "mailer:{limits}:lane:main:lane-0"
#: What they remember of a lane lies there packed: how it is slowed down, and whether that was asked for.
LOOK = """
local memory = cmsgpack.unpack(redis.call('GET', KEYS[1]))
return cjson.encode({memory.slowed or {}, memory['pace:slowed'] ~= nil})
"""


def with_a_long_memory(*arguments):
    """A worker that counts what it did since it began: a busy machine may stand still for any time."""
    plan._SPAN = slowing.JOIN_SECONDS = 3600.0
    celery(*arguments)


def held(folder):
    """The row ids of all leases, by worker."""
    with closing(sqlite3.connect(folder / "mailer.db")) as ledger:
        leases = ledger.execute("SELECT worker, ids FROM lease").fetchall()
    return [(worker, set(json.loads(ids))) for worker, ids in leases]


def test_asked_for_less_workers_do_half_of_what_they_did_together(tmp_path, world, redis_server, mailer_sink):
    """Each knows what it did itself; in the limits' memory is the sum, and both go by it."""
    sink = mailer_sink(
        '[[rule]]\nat = "rcpt"\nmatch = "less@*"\ntimes = 1\nreply = "451 4.7.1 slow down"\n'
        '[[rule]]\nat = "dot"\ndelay = "20ms"\n'
    )
    write_settings(tmp_path, broker=redis_server.url, backend=sink.url, lease=3600.0)
    campaign = world.campaign(5000, recipients_per_task=1)
    rows_of = defaultdict(set)

    def both_have_sent():
        for name, ids in held(tmp_path):
            rows_of[name] |= ids
        accepted = {row.id for row in world.rows(campaign) if row.state is State.ACCEPTED}
        return len(accepted) >= BEFORE and sum(not accepted.isdisjoint(ids) for ids in rows_of.values()) == 2

    with worker(tmp_path, "w1", work=with_a_long_memory), worker(tmp_path, "w2", work=with_a_long_memory):
        wait_until(both_have_sent, "both have sent")
        together = world.states(campaign)[State.ACCEPTED]
        world.campaign(1, address="less@lane-0.example")
        with Redis(port=redis_server.port) as redis:

            def slowed():
                return json.loads(redis.eval(LOOK, 1, LANE)) if redis.exists(LANE) else ({}, False)

            wait_until(lambda: len(slowed()[0].get("by", ())) == 2, "both are slowed down")
            took = time.time() - world.now(campaign).started_at
            wait_until(lambda: slowed()[1], "what they send is asked for")
            memory, _ = slowed()

    assert memory["factor"] == 0.5
    assert memory["flow"] >= together / max(took, 1.0)
