"""When a worker counts as stalled: hints wait, it has nothing to do, and it fetches none."""

import pytest
from redis import Redis

from mailer.message import State
from mailer.publisher import Publisher
from tasks.watch import Patience
from tests.proxy import TcpProxy
from tests.servers import wait_until
from tests.working import children, supervised, write_settings


def looks(*seen):
    patience = Patience(30.0)
    return [
        patience.exhausted(now=now, taken=taken, busy=busy, waiting=waiting)
        for now, taken, busy, waiting in seen
    ]


def test_a_consumer_that_fetches_nothing_is_stalled_after_its_time():
    assert looks((0, 5, False, 3), (29, 5, False, 3), (30, 5, False, 3)) == [False, False, True]


def test_whoever_fetches_works_or_has_nothing_to_fetch_is_not():
    assert not any(looks((0, 5, False, 3), (29, 6, False, 3), (58, 6, False, 3)))
    assert not any(looks((0, 5, False, 3), (20, 5, True, 3), (49, 5, False, 3)))
    assert not any(looks((0, 5, False, 3), (20, 5, False, 0), (49, 5, False, 3)))


def fetching(redis_server):
    """How many workers wait for their next hint."""
    with Redis(port=redis_server.port) as redis:
        return sum("b" in client["flags"] for client in redis.client_list())


@pytest.mark.slow
def test_a_worker_whose_broker_went_silent_is_replaced_and_the_campaign_goes_on(
    tmp_path, world, redis_server, smtp_sink
):
    """Its connection stays open, and nothing comes through it: no error will ever tell."""
    with TcpProxy(redis_server.port) as proxy:
        broker = redis_server.url.replace(str(redis_server.port), str(proxy.port))
        write_settings(tmp_path, broker=broker, backend=smtp_sink().url)
        settings = tmp_path / "mailer.toml"
        settings.write_text('stalled_seconds = 2\nlimits = "ledger"\n' + settings.read_text())
        with supervised(tmp_path) as supervisor:
            # Were there hints while they begin, a busy machine could make them look deaf, over and over.
            wait_until(lambda: fetching(redis_server) == 2, "both fetch")
            first = world.campaign(20)
            wait_until(lambda: world.states(first) == {State.ACCEPTED: 20}, "it works")
            wait_until(lambda: fetching(redis_server) == 2, "both fetch again")
            wait_until(lambda: "bulk-1" in children(supervisor), "it runs")
            before = children(supervisor)["bulk-1"]

            settings.write_text(settings.read_text().replace("= 2", "= 600", 1))  # for who takes its place
            proxy.silence()
            second = world.campaign(20)
            publisher = Publisher(redis_server.url)
            publisher.publish(world.ids(second, 20))
            wait_until(lambda: children(supervisor).get("bulk-1") not in (before, None), "replaced")
            wait_until(lambda: world.states(second) == {State.ACCEPTED: 20}, "the campaign went on")

            publisher.close()
        assert "nothing is fetched" in (tmp_path / "supervisor.log").read_text()
