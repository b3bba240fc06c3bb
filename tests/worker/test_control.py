"""The channel on which all workers hear at once that the ledger was changed. Nothing depends on it."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode
from collections import Counter

import pytest
from redis import Redis

from mailer.broadcast import Broadcast
from mailer.campaigns import control
from mailer.ledger.contract import CampaignState, Settlement
from mailer.message import State
from mailer.publisher import HEED, PREFIX, client
from tests.forked import command
from tests.servers import free_port, wait_until
from tests.serving import serving
from tests.working import holders, patient_celery, patient_command, run, worker, write_settings

ROWS = 400
#: Each of these may hold a row that waits for its answer or for its connection, and keeps it.
WORKERS, CALLS = 2, 20
#: Every message is taken, and the answer does not come.
SILENT = '[[rule]]\nat = "dot"\ndelay = "30m"\n'


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request):
    return request.getfixturevalue("redis_server" if request.param == "redis" else "rabbit")


def tell(broker):
    broadcast = Broadcast(broker.url)
    broadcast.heed()
    broadcast.close(60)


def test_every_worker_heeds_at_once_also_after_a_restart_of_the_broker(tmp_path, world, broker, mailer_sink):
    """They look by themselves four times an hour, so what they do here is because they were told."""
    write_settings(tmp_path, broker=broker.url, backend=mailer_sink(SILENT).url, lease=3600)
    campaign = world.campaign(ROWS, recipients_per_task=50)

    def told_until(true, what):
        def told():
            tell(broker)  # again: nobody hears who connects just then, or is between claim and work
            return true()

        wait_until(told, what)

    def waits():
        return world.states(campaign).get(State.PENDING, 0) >= ROWS - WORKERS * CALLS

    def held():
        """Not all again: some hints stay with the rows that wait for their answer."""
        return world.states(campaign).get(State.CLAIMED, 0) >= ROWS / 2

    with (
        worker(tmp_path, "w1", work=patient_celery) as first,
        worker(tmp_path, "w2", work=patient_celery) as second,
    ):
        wait_until(lambda: len(holders(tmp_path)) == WORKERS, "both hold some")
        wait_until(held, "claimed")
        control.pause(world.ledger, campaign)
        told_until(waits, "given back after a pause")
        control.resume(world.ledger, campaign)
        told_until(held, "claimed after it was resumed")
        world.ledger.backends.pause("main", "by a test")
        told_until(waits, "given back before a paused backend")
        world.ledger.backends.resume("main")
        told_until(held, "claimed before a resumed backend")
        broker.restart()
        control.pause(world.ledger, campaign)
        told_until(waits, "given back after a restart of the broker")
        assert first.running
        assert second.running
        first.kill()
        second.kill()


def test_hints_that_come_all_the_time_change_nothing(tmp_path, world, redis_server, smtp_sink):
    sink = smtp_sink()
    write_settings(tmp_path, broker=redis_server.url, backend=sink.url, rate='"100/s"')
    campaign = world.campaign(100)
    with worker(tmp_path):
        while world.now(campaign).state is not CampaignState.FINISHED:
            tell(redis_server)

    assert world.states(campaign) == {State.ACCEPTED: 100}
    assert set(Counter(sink.recipients()).values()) == {1}


def test_workers_answer_questions_and_take_no_commands(tmp_path, world, broker, smtp_sink):
    write_settings(tmp_path, broker=broker.url, backend=smtp_sink().url)
    app = client(broker.url)
    with worker(tmp_path) as one, contextlib.closing(app):
        found = []

        def seen():
            found[:] = app.control.ping(timeout=1.0)
            return found

        wait_until(seen, "it answers")
        (name,) = found[0]
        for order, about in (
            ("shutdown", {}),
            ("cancel_consumer", {"queue": "bulk"}),
            ("pool_shrink", {"n": 1}),
            ("revoke", {"task_id": "x"}),
            ("conf", {}),
        ):
            (answer,) = app.control.broadcast(order, about, reply=True, limit=1, timeout=60.0)
            assert answer == {name: {"error": "workers of mailer take no commands over the broker"}}
        (stats,) = app.control.broadcast("stats", reply=True, limit=1, timeout=60.0)
        assert stats[name]["pool"]["implementation"].endswith("thread:TaskPool")
        campaign = world.campaign(20)
        wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "it still works")
        assert one.running


def test_rabbitmq_that_takes_a_dead_connection_for_alive_holds_up_no_worker(
    tmp_path, world, rabbit, smtp_sink
):
    """Celery's default is a queue for one connection only; its worker ends of the refusal."""
    write_settings(tmp_path, broker=rabbit.url, backend=smtp_sink().url)
    app = client(rabbit.url)
    with contextlib.closing(app), app.connection_for_read() as before:
        with worker(tmp_path):
            wait_until(lambda: app.control.ping(timeout=1.0), "it answers")
            ((name, _),) = app.control.ping(timeout=60.0, limit=1)[0].items()
        app.control.mailbox(before).Node(name, channel=before.channel()).listen()
        campaign = world.campaign(20)
        with worker(tmp_path):
            wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")


# The commands.


@pytest.fixture
def heard(redis_server):
    """What is said on the channel, word by word."""
    with Redis(port=redis_server.port) as redis, redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.psubscribe(f"{PREFIX}*control*")
        words = []

        def listen():
            while (message := channel.get_message(timeout=0.05)) is not None:
                words.append(json.loads(b64decode(json.loads(message["data"])["body"])))
            return len(words)

        listen()
        listen.words = words
        yield listen


def failed(world, campaign):
    """One of its rows cannot be sent."""
    (id_,) = world.ids(campaign, 1)
    fence = world.ledger.slices.claim([id_], "by hand", 60.0).fence
    assert world.ledger.slices.settle([Settlement(id_, fence, State.FAILED, spent=True)]) == [True]


def test_each_command_tells_the_workers(tmp_path, world, redis_server, heard):
    write_settings(tmp_path, broker=redis_server.url, backend="console:")
    campaign = world.campaign(3)
    failed(world, campaign)
    for words in (
        ("set", "--priority", "5"),
        ("pause",),
        ("resume",),
        ("pause", "--wait"),
        ("retry", "--failed"),
        ("cancel", "--yes"),
        ("backends", "pause", "main"),
        ("backends", "resume", "main"),
    ):
        before = heard()
        about = () if words[0] == "backends" else (campaign.slug,)
        done = run(tmp_path, patient_command, words[0], *about, *words[1:])
        assert done.returncode == 0, (words, done.stderr)
        wait_until(lambda before=before: heard() == before + 1, f"{words} is heard")

    assert {word["method"] for word in heard.words} == {HEED}
    assert not any(word["arguments"] for word in heard.words)
    assert world.states(campaign) == {State.CANCELLED: 3}


def test_a_change_over_http_tells_the_workers(tmp_path, world, redis_server, heard):
    write_settings(tmp_path, broker=redis_server.url, backend="console:")
    campaign = world.campaign(3)
    with serving(tmp_path, work=patient_command) as api:
        for change in ("pause", "resume", "cancel"):
            before = heard()
            assert api.post(f"/v1/campaigns/{campaign.slug}/{change}").status_code == 200
            wait_until(lambda before=before: heard() == before + 1, f"{change} is heard")


@pytest.mark.parametrize("state", ["refuses", "hangs"])
def test_a_broker_that_is_away_holds_up_no_command(tmp_path, world, redis_server, state):
    port = free_port() if state == "refuses" else redis_server.port
    write_settings(tmp_path, broker=f"redis://127.0.0.1:{port}/0", backend="console:")
    campaign = world.campaign(3)
    redis_server.process.pause()
    try:
        done = run(tmp_path, command, "pause", campaign.slug, "--wait")
    finally:
        redis_server.process.go_on()

    assert done.returncode == 0
    assert "paused; 0 messages in flight" in done.stdout
    assert "Traceback" not in done.stderr
    assert world.now(campaign).state is CampaignState.PAUSED
