"""The engine on its thread, without Celery around it: how it starts, and how it ends."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mailer.errors import ConfigError
from mailer.message import State
from mailer.settings import Settings
from tasks.runtime import Runtime
from tests.servers import PATIENCE, wait_until
from tests.working import write_settings


@pytest.fixture
def world(world):
    # No pump: what is delivered is what the test says.
    assert world.ledger.schedule.lead("pump:workers", "this test", 600)
    return world


@pytest.fixture
def died():
    return threading.Event()


@pytest.fixture
def runtime(tmp_path, redis_server, smtp_sink, died):
    """``runtime("-W", ".:600")`` runs over a sink with these options."""
    started = []

    def start(*sink, **settings):
        write_settings(tmp_path, broker=redis_server.url, backend=smtp_sink(*sink).url, **settings)
        started.append(Runtime(Settings.load(tmp_path), worker="w1", on_death=died.set))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop(0.0)


def test_threads_share_one_engine(runtime, world):
    campaign = world.campaign(40)
    ids = world.ids(campaign, 40)
    engine = runtime()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.deliver, [ids[start : start + 10] for start in range(0, 40, 10)]))

    assert world.states(campaign) == {State.ACCEPTED: 40}


def test_stopping_does_not_wait_for_a_server_that_does_not_answer(runtime, world):
    campaign = world.campaign(3)
    engine = runtime("-W", ".:600")
    with ThreadPoolExecutor(1) as pool:
        delivering = pool.submit(engine.deliver, world.ids(campaign, 3))
        wait_until(lambda: world.states(campaign).get(State.SENDING), "a body on the wire")
        engine.stop(0.5)
        delivering.result(PATIENCE)  # the answer would take ten minutes

    world.ledger.slices.recover()
    assert world.states(campaign).keys() <= {State.UNKNOWN, State.PENDING}
    assert world.states(campaign)[State.UNKNOWN] >= 1


def test_after_stopping_nothing_is_claimed(runtime, world):
    campaign = world.campaign(3)
    engine = runtime()
    engine.stop(1.0)

    engine.deliver(world.ids(campaign, 3))

    assert world.states(campaign) == {State.PENDING: 3}


def test_a_wrong_setting_is_raised_where_it_was_started(runtime, world):
    with pytest.raises(ConfigError, match="20/s"):
        runtime(rate='"fast"')


def test_an_engine_that_dies_says_so_and_holds_up_nobody(runtime, world, died):
    campaign = world.campaign(1)
    engine = runtime()
    engine._loop.call_soon_threadsafe(engine._loop.stop)

    assert died.wait(PATIENCE)
    engine.deliver(world.ids(campaign, 1))
    assert world.states(campaign) == {State.PENDING: 1}
