"""What tests of workers share: a ledger to look into, RabbitMQ, and publishers that nothing hurries."""

import pytest

from mailer import broadcast, publisher
from tests.delivering import World
from tests.rabbit import rabbit_server
from tests.servers import PATIENCE

HASTE = publisher.PATIENCE


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


@pytest.fixture(autouse=True)
def patient_publishers(monkeypatch):
    """Ours give up after two seconds. A machine that stops for so long is no reason why a test fails."""
    for place in (publisher, broadcast):
        monkeypatch.setattr(place, "PATIENCE", PATIENCE)


@pytest.fixture
def hasty_publishers(patient_publishers, monkeypatch):
    """They give up as soon as in production."""
    for place in (publisher, broadcast):
        monkeypatch.setattr(place, "PATIENCE", HASTE)


@pytest.fixture(scope="module")
def rabbit_of_the_module():
    with rabbit_server() as server:
        yield server


@pytest.fixture
def rabbit(rabbit_of_the_module):
    """It is up, and has nothing of the tests before: which those are, and whether any, is not known."""
    rabbit_of_the_module.clean()
    return rabbit_of_the_module
