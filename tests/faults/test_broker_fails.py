"""The broker forgets, hangs, lies and repeats itself: the ledger is the queue, so it only costs time."""

from __future__ import annotations

import random
import time

import pytest
from kombu import Connection
from redis import Redis

from mailer.publisher import Publisher, configuration
from tests.faults.judging import WHOLE
from tests.faults.works import Works
from tests.servers import wait_until

ROWS = 600 if WHOLE else 400


@pytest.fixture
async def works(tmp_path, redis_server, smtp_sink):
    works = Works(tmp_path, redis_server.url, smtp_sink())
    yield works
    await works.close()


def flush(redis_server):
    with Redis(port=redis_server.port) as redis:
        redis.flushall()


def restart(redis_server):
    redis_server.restart()  # kill -9, and it has no file to remember anything by


@pytest.mark.parametrize(
    ("fault", "injected", "break_it"),
    [("F9", "Redis FLUSHALL", flush), ("F10", "Redis kill -9 without persistence, restarted", restart)],
)
async def test_f9_f10_redis_forgets_everything(works, redis_server, judge, fault, injected, break_it):
    campaign = works.world.campaign(ROWS)
    works.start(2)
    works.wait_for_some(campaign, 100)
    break_it(redis_server)
    moved = works.moves_after(campaign)
    works.wait_for_end(campaign)

    judge(fault, injected, works.settled(campaign), works.copies(), rows=ROWS, moves_after=moved)


async def test_f11_redis_hangs(works, redis_server, judge):
    """What was claimed goes on, the rest waits for the broker. Opening a campaign needs none."""
    campaign = works.world.campaign(ROWS)
    works.start(2)
    works.wait_for_some(campaign, 50)
    redis_server.process.pause()
    time.sleep(3)
    late = works.world.campaign(20, address="late-{n}@lane-{lane}.example")
    redis_server.process.go_on()
    moved = works.moves_after(campaign)
    works.wait_for_end(campaign)
    works.wait_for_end(late)

    judge(
        "F11",
        "Redis stopped for 3 s",
        works.settled(campaign),
        works.only("person"),
        rows=ROWS,
        moves_after=moved,
    )


async def test_f12_connections_to_redis_are_cut(works, redis_server, judge):
    """Celery runs the tasks again that were under way."""
    campaign = works.world.campaign(ROWS)
    works.start(2)
    works.wait_for_some(campaign, 20)
    with Redis(port=redis_server.port) as redis:
        for _ in range(3):
            redis.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.5)
        redis.client_kill_filter(_type="normal", skipme=True)
    moved = works.moves_after(campaign)
    works.wait_for_end(campaign)

    judge(
        "F12",
        "CLIENT KILL TYPE normal, four times",
        works.settled(campaign),
        works.copies(),
        rows=ROWS,
        moves_after=moved,
    )


async def test_f13_the_answer_to_a_publish_is_cut(tmp_path, redis_server, smtp_sink, tcp_proxy, judge):
    """The hint was taken, and the publisher thinks that it was not."""
    proxy = tcp_proxy(redis_server.port)
    works = Works(tmp_path, f"redis://127.0.0.1:{proxy.port}/0", smtp_sink(), rate="[]")
    campaign = works.world.campaign(ROWS, recipients_per_task=20)
    try:
        proxy.up.cut_at, proxy.up.let_pass, proxy.up.matches = b"LPUSH", True, 3
        works.start()
        wait_until(lambda: proxy.up.matches <= 0, "a publish was cut")
        proxy.up.cut_at = None
        works.wait_for_end(campaign)
        judge("F13", "the reply to a publish cut", works.settled(campaign), works.copies(), rows=ROWS)
    finally:
        await works.close()


async def test_f14_hints_come_five_times_in_any_order(works, redis_server, judge):
    campaign = works.world.campaign(ROWS)
    ids = works.world.ids(campaign, ROWS)
    slices = [ids[at : at + 40] for at in range(0, ROWS, 40)] * 5
    random.Random(14).shuffle(slices)
    publisher = Publisher(redis_server.url)
    for one in slices:
        publisher.publish(one)
    publisher.close()
    works.start(2)
    works.wait_for_end(campaign)

    judge("F14", "every hint five times, in random order", works.settled(campaign), works.copies(), rows=ROWS)


async def test_f15_tasks_run_longer_than_the_visibility_timeout(works, redis_server, judge):
    """Redis then hands out again what still runs. Here another program shares the broker whose timeout
    is over at once: the shortest of all counts."""
    campaign = works.world.campaign(ROWS, recipients_per_task=100)
    works.sink.process.pause()  # so that the first tasks surely still run when they are handed out again
    works.start(2)
    options = configuration(redis_server.url)["broker_transport_options"] | {"visibility_timeout": -1}
    with (
        Connection(redis_server.url, transport_options=options) as connection,
        Redis(port=redis_server.port) as redis,
    ):
        qos = connection.default_channel.qos

        def handed_out_again():
            running = redis.zcard("mailer:unacked_index")
            qos.restore_visible(0, 100, 1)
            return running > redis.zcard("mailer:unacked_index")

        wait_until(handed_out_again, "a running task was handed out again")
        works.sink.process.go_on()
        while not works.finished(campaign):
            handed_out_again()
            time.sleep(0.1)
    judge(
        "F15",
        "every running task handed out again, ten times a second",
        works.settled(campaign),
        works.copies(),
        rows=ROWS,
    )
