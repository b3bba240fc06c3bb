"""Which limits the engine asks for a row, and what becomes of it when nobody can say."""

from mailer.delivery.limits.memory import MemoryLimiter
from mailer.delivery.limits.plan import BackendRates, Limits, SenderRates
from mailer.delivery.throttle import UNAVAILABLE_SECONDS, Throttle
from mailer.errors import LimitsUnavailable
from mailer.ledger.contract import row_id
from mailer.message import State
from tests.delivering import World


class Away:
    """A limiter whose server does not answer."""

    async def take(self, keys, wanted, *, urgent=False):
        raise LimitsUnavailable("the limits in redis://limits: TimeoutError")

    async def available(self, keys, *, urgent=False):
        raise LimitsUnavailable("the limits in redis://limits: TimeoutError")

    async def slow_down(self, key, seconds=None):
        raise LimitsUnavailable("the limits in redis://limits: TimeoutError")

    async def hear(self):
        raise LimitsUnavailable("the limits in redis://limits: TimeoutError")

    async def close(self): ...


def throttle(limiter=None, **limits):
    found = Limits(**limits)
    return Throttle(found, limiter or MemoryLimiter(found, patience=0.0))


async def test_without_an_answer_nothing_is_sent_and_the_rows_are_due_again_soon(tmp_path):
    world = World(tmp_path)
    campaign = world.campaign(3)
    engine = world.engine(throttle=throttle(Away(), backends={"main": BackendRates(("100/s",))}))
    began = world.clock()

    await engine.deliver(world.ids(campaign, 3))

    assert world.backend.sent == []
    assert set(world.states(campaign)) <= {State.PENDING, State.DEFERRED}
    due = world.ledger.schedule.next_due(campaign.id)
    assert began <= due - UNAVAILABLE_SECONDS <= world.clock()
    await world.close()


async def test_without_an_answer_the_pump_hints_nothing_and_nobody_fails(tmp_path):
    limited = throttle(Away(), backends={"main": BackendRates(("100/s",))})

    assert await limited.room(("backend:main",)) == (0, UNAVAILABLE_SECONDS)
    await limited.slow_down("main", "gmail", None)


async def test_an_engine_far_from_the_pump_holds_the_rate_of_a_campaign(tmp_path):
    world = World(tmp_path)
    campaign = world.campaign(10, rates=["4/h"])
    engine = world.engine(throttle=throttle())

    await engine.deliver(world.ids(campaign, 10))

    assert len(world.backend.sent) == 4
    await world.close()


async def test_a_sender_domain_is_limited_over_all_backends(tmp_path):
    world = World(tmp_path)
    campaign = world.campaign(10)
    limited = throttle(senders={"acme.example": SenderRates(("4/h",))})
    engine = world.engine(throttle=limited)

    await engine.deliver(world.ids(campaign, 10))

    assert len(world.backend.sent) == 4
    assert world.backend.sent[0].id == row_id(campaign.id, 1)
    limited.set_campaign(campaign.id, (), "acme.example")
    assert limited.keys("other", "", campaign.id) == ("sender:acme.example",)
    await world.close()
