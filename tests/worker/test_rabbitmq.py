"""The same workers over RabbitMQ: a campaign, a restart in the middle of one, a server that hangs."""

import time
from collections import Counter

import pytest

from mailer.errors import BrokerUnavailable
from mailer.ledger.contract import CampaignState
from mailer.message import State
from mailer.publisher import Publisher, ping
from tests.servers import wait_until
from tests.working import worker, write_settings


def test_hints_wait_in_the_queue_of_their_stream(rabbit):
    assert ping(rabbit.url) > 0
    publisher = Publisher(rabbit.url)
    assert publisher.waiting(["transactional"]) == 0
    publisher.publish([1, 2], "transactional")
    publisher.publish([3], "transactional")

    wait_until(lambda: publisher.waiting(["transactional"]) == 2, "two hints")
    publisher.close()


def test_a_wrong_password_is_said_to_be_wrong_and_not_repeated(rabbit):
    with pytest.raises(BrokerUnavailable, match=r"login|ACCESS_REFUSED|refused") as caught:
        ping(rabbit.url.replace("guest:guest", "guest:s3cret"))

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("recipients_per_task", [1, 200])
def test_a_campaign_reaches_everybody_once(tmp_path, world, rabbit, smtp_sink, recipients_per_task):
    sink = smtp_sink()
    write_settings(tmp_path, broker=rabbit.url, backend=sink.url)
    campaign = world.campaign(200, recipients_per_task=recipients_per_task)
    with worker(tmp_path):
        wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")

    assert world.states(campaign) == {State.ACCEPTED: 200}
    assert set(Counter(sink.recipients()).values()) == {1}


def test_a_campaign_goes_on_by_itself_after_rabbitmq_was_killed(tmp_path, world, rabbit, smtp_sink):
    sink = smtp_sink()
    write_settings(tmp_path, broker=rabbit.url, backend=sink.url, rate='"100/s"')
    campaign = world.campaign(400)
    with worker(tmp_path):
        wait_until(lambda: world.states(campaign).get(State.ACCEPTED, 0) > 50, "50 accepted")
        rabbit.restart()
        wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")

    assert world.states(campaign) == {State.ACCEPTED: 400}
    assert set(Counter(sink.recipients()).values()) == {1}


def test_a_connection_that_breaks_under_many_hints_is_made_again(
    tmp_path, world, rabbit, smtp_sink, tcp_proxy
):
    """What the pool has in hand then must not touch a connection that the main thread reads."""
    proxy, sink = tcp_proxy(rabbit.port), smtp_sink("-w", "1")
    broker = rabbit.url.replace(f":{rabbit.port}", f":{proxy.port}")
    write_settings(tmp_path, broker=broker, backend=sink.url, connections=30)
    campaign = world.campaign(150, recipients_per_task=1)
    with worker(tmp_path, "w1", "--concurrency", "32"):
        wait_until(lambda: world.states(campaign).get(State.ACCEPTED, 0) > 20, "20 accepted")
        proxy.drop()
        wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")

    assert "UnexpectedFrame" not in (tmp_path / "w1.log").read_text()
    assert world.states(campaign) == {State.ACCEPTED: 150}
    assert set(Counter(sink.recipients()).values()) == {1}


def taken(publisher):
    try:
        publisher.publish([1], "transactional")
    except BrokerUnavailable:
        return False
    return True


def test_a_server_that_hangs_costs_seconds_not_forever(rabbit, hasty_publishers):
    publisher = Publisher(rabbit.url)
    wait_until(lambda: taken(publisher), "a connection")
    rabbit.process.pause()
    try:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.publish([2], "transactional")
        assert time.monotonic() - began < 60
    finally:
        rabbit.process.go_on()
    publisher.close()
