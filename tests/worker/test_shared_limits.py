"""Limits and connections of real workers, which share them through their broker's Redis."""

import pytest
from redis import Redis

from mailer.message import State
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
