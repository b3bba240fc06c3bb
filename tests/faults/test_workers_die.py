"""Workers are killed, hung and told to stop while they work."""

from __future__ import annotations

import random
import signal
import time

import pytest

from mailer.message import State
from mailer.publisher import Publisher
from tests.faults.judging import WHOLE
from tests.faults.works import CONNECTIONS, Works
from tests.servers import wait_until


@pytest.fixture
async def works(tmp_path, redis_server, smtp_sink):
    works = Works(tmp_path, redis_server.url, smtp_sink())
    yield works
    await works.close()


@pytest.mark.timeout(900)
async def test_f1_a_worker_is_killed_every_300_ms(tmp_path, redis_server, smtp_sink, judge):
    rows, crew = (20_000, 8) if WHOLE else (300, 5)
    works = Works(tmp_path, redis_server.url, smtp_sink(), rate="[]")
    chance, kills = random.Random(1), 0
    campaign = works.world.campaign(rows, recipients_per_task=50)
    try:
        alive = works.start(crew)
        due = time.monotonic() + 2
        while not works.finished(campaign) and (WHOLE or kills < 12):
            time.sleep(max(0.0, due - time.monotonic()))
            due = time.monotonic() + 0.3
            victim = alive.pop(chance.randrange(2))  # an old one: it has had time to start
            victim.kill()
            kills += 1
            alive += works.start()
        works.wait_for_end(campaign)
        judge(
            "F1",
            f"kill -9 of a worker every 300 ms, {kills} times",
            works.settled(campaign),
            works.copies(),
            rows=rows,
            window=kills * CONNECTIONS,
        )
    finally:
        await works.close()


async def test_f2_a_hint_dies_in_the_socket_of_a_worker(works, redis_server, judge):
    """Redis pops before anything records the message: it is gone for good, and the pump hints again."""
    (first,) = works.start()
    warm = works.world.campaign(1, address="warm-{n}@lane-{lane}.example")
    works.wait_for_end(warm)
    works.hang(first)
    campaign = works.world.campaign(50)
    publisher = Publisher(redis_server.url)
    publisher.publish(works.world.ids(campaign, 50))
    publisher.close()
    first.kill()
    works.start()
    moved = works.moves_after(campaign)
    works.wait_for_end(campaign)

    copies = works.only("person")
    judge(
        "F2", "worker stopped, hinted and killed", works.settled(campaign), copies, rows=50, moves_after=moved
    )


async def test_f5_sigterm_under_load(works, judge):
    rows, times = (4000, 50) if WHOLE else (500, 4)
    campaign = works.world.campaign(rows)
    for _ in range(times):
        (worker,) = works.start()
        before = works.states(campaign).get(State.ACCEPTED, 0)
        wait_until(
            lambda b=before: works.states(campaign).get(State.ACCEPTED, 0) > b or works.finished(campaign),
            "more accepted",
        )
        assert worker.stop() == 0
    works.start()
    works.wait_for_end(campaign)

    judge("F5", f"SIGTERM {times} times under load", works.settled(campaign), works.copies(), rows=rows)


#: The last final dot is answered when nobody waits for it any more.
HANGS = """
[[rule]]
at = "dot"
match = "person-60@*"
delay = "10m"
"""


async def test_f6_sigterm_and_then_kill_9_while_the_dot_hangs(tmp_path, redis_server, mailer_sink, judge):
    """The one whose answer never came is in doubt, and only that one."""
    works = Works(tmp_path, redis_server.url, mailer_sink(HANGS), connections=2, rate="[]")
    campaign = works.world.campaign(60)
    (worker,) = works.start()
    try:
        wait_until(lambda: _one_is_left(works.states(campaign)), "one hangs")
        worker.signal(signal.SIGTERM)
        time.sleep(1)
        worker.kill()
        wait_until(lambda: _recovered(works, campaign), "lease over")
        states = works.states(campaign)
        judge(
            "F6", "SIGTERM, then kill -9 with a hanging final dot", states, works.copies(), rows=60, window=1
        )
    finally:
        await works.close()


@pytest.mark.parametrize("seconds", [3.0])
async def test_f7_a_worker_sleeps_longer_than_its_lease(works, seconds, judge):
    campaign = works.world.campaign(500)
    first, _ = works.start(2)
    works.wait_for_some(campaign)
    works.hang(first)
    time.sleep(seconds)
    moved = works.moves_after(campaign)
    first.signal(signal.SIGCONT)
    works.wait_for_end(campaign)

    judge(
        "F7",
        "a worker stopped for longer than its lease, then woken",
        works.settled(campaign),
        works.copies(),
        rows=500,
        window=CONNECTIONS,
        moves_after=moved,
    )


def _one_is_left(states):
    """On its way; or in doubt already, where the worker was slow to renew its lease."""
    return (
        states.get(State.ACCEPTED) == 59 and states.get(State.SENDING, 0) + states.get(State.UNKNOWN, 0) == 1
    )


def _recovered(works, campaign):
    """No lease holds a row any more."""
    works.world.ledger.slices.recover()
    states = works.states(campaign)
    return not states.get(State.SENDING) and not states.get(State.CLAIMED)
