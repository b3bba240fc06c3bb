"""Hints that are finished while Redis is away: nobody takes their acknowledgements; the worker goes on."""

import os
import signal
from collections import Counter

from redis import Redis

from mailer.ledger.contract import CampaignState
from mailer.message import State
from tests.servers import wait_until
from tests.working import worker, write_settings

#: What a worker has in hand at once: hints of 200 recipients by its settings, of one by the campaign's.
IN_HAND = 4
ROWS = 12


def test_a_worker_that_could_acknowledge_nothing_fetches_again_when_redis_is_back(
    tmp_path, world, redis_server, smtp_sink
):
    """kombu keeps the place of a hint whose acknowledgement failed. That may not be what limits a worker."""
    sink = smtp_sink()
    sink.process.pause()  # what a worker has in hand it keeps, until Redis is away
    write_settings(tmp_path, broker=redis_server.url, backend=sink.url, connections=IN_HAND)
    settings, log = tmp_path / "mailer.toml", tmp_path / "w1.log"
    settings.write_text('limits = "ledger"\n' + settings.read_text())  # what is in hand needs no Redis
    campaign = world.campaign(ROWS, recipients_per_task=1)
    # Celery's heartbeat event would hold the main thread while Redis is away: nothing would be acknowledged.
    with worker(tmp_path, "w1", "--without-heartbeat") as process:
        with Redis(port=redis_server.port) as redis:
            wait_until(lambda: redis.zcard("mailer:unacked_index") == IN_HAND, "as many hints as it takes")
        redis_server.process.kill()
        sink.process.go_on()
        wait_until(lambda: world.states(campaign).get(State.ACCEPTED, 0) >= IN_HAND, "they are done")
        wait_until(lambda: noticed(log.read_text()), "and Celery could not say so")
        redis_server.start()
        wait_until(
            lambda: world.now(campaign).state is CampaignState.FINISHED or not process.running, "finished"
        )

    assert world.states(campaign) == {State.ACCEPTED: ROWS}, log.read_text()
    assert Counter(sink.recipients()) == {f"person-{n}@lane-0.example": 1 for n in range(1, ROWS + 1)}


def test_a_worker_that_is_told_to_stop_while_redis_is_away_finishes_what_it_has_and_ends(
    tmp_path, world, redis_server, smtp_sink
):
    """Celery's heartbeat holds the main thread as long as Redis is away."""
    sink = smtp_sink()
    sink.process.pause()  # what a worker has in hand it keeps, until Redis is away
    write_settings(tmp_path, broker=redis_server.url, backend=sink.url, connections=IN_HAND)
    settings, log = tmp_path / "mailer.toml", tmp_path / "w1.log"
    settings.write_text('limits = "ledger"\n' + settings.read_text())
    campaign = world.campaign(ROWS, recipients_per_task=1)
    with worker(tmp_path, "w1") as process:
        with Redis(port=redis_server.port) as redis:
            wait_until(lambda: redis.zcard("mailer:unacked_index") == IN_HAND, "as many hints as it takes")
        redis_server.process.kill()
        sink.process.go_on()
        wait_until(lambda: world.states(campaign).get(State.ACCEPTED, 0) >= IN_HAND, "they are done")

        os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: not process.running, "its end")

    done = world.states(campaign)
    assert set(done) == {State.ACCEPTED, State.PENDING}, log.read_text()
    assert len(sink.recipients()) == done[State.ACCEPTED]


def noticed(log):
    """With the first task that is free it asks Redis for more; or it has none left and never asks again."""
    return "Connection to broker lost" in log or log.count("Couldn't ack") >= IN_HAND
