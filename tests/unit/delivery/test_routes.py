"""Several backends for one campaign: which carries what, and when a row may go elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from mailer.backends.contract import BackendLimits
from mailer.delivery.breaker import Circuit
from mailer.delivery.limits.memory import MemoryLimiter
from mailer.delivery.limits.plan import BackendRates, Limits
from mailer.delivery.routes import Route
from mailer.delivery.throttle import Throttle
from mailer.errors import BackendUnusable
from mailer.ledger.contract import CampaignState
from mailer.message import Accepted, Blocked, Deferred, Phase, Reply, State, Unknown
from tests.delivering import ScriptedBackend, World, accepted

IN_ORDER = {"both": Route("both", ("main", "spare"))}
REPLY = Reply("what it said", code=250, phase=Phase.DOT)
SILENCE = Reply("connection lost", phase=Phase.DOT, reason="No answer.")


class Pair:
    """An engine with two backends and a route over both."""

    def __init__(self, world: World, routes=None, **settings) -> None:
        self.main, self.spare = ScriptedBackend(), ScriptedBackend()
        self.engine = world.engine(
            {"main": self.main, "spare": self.spare}, routes=routes or IN_ORDER, **settings
        )

    @property
    def sent(self) -> tuple[int, int]:
        return len(self.main.sent), len(self.spare.sent)


def unusable(lasting=False):
    return lambda _: BackendUnusable("main", "connection refused", lasting)


def over(world, campaign):
    """Rows by the backend that carried them and the reason that is given."""
    return Counter((row.backend, row.reason) for row in world.rows(campaign))


async def test_the_first_backend_carries_everything_while_it_works(world: World):
    pair, campaign = Pair(world), world.campaign(20, backend="both")

    await pair.engine.deliver(world.ids(campaign, 20))

    assert over(world, campaign) == {("main", None): 20}
    assert pair.sent == (20, 0)


async def test_rows_of_a_backend_that_cannot_be_reached_go_over_the_next(world: World):
    pair, campaign = Pair(world), world.campaign(20, backend="both")
    pair.main.script = unusable()

    await pair.engine.deliver(world.ids(campaign, 20))
    await pair.engine.deliver(world.ids(campaign, 20))

    assert over(world, campaign) == {("spare", "Not over main: connection refused."): 20}
    assert {row.attempts for row in world.rows(campaign)} == {1}
    assert pair.engine.resting("both").until == 0.0
    assert pair.engine.resting("main").until > world.clock()
    assert pair.engine.circuits() == {"main": Circuit.OPEN, "spare": Circuit.CLOSED}


async def test_a_row_that_a_broken_connection_did_not_take_goes_over_the_next_unspent(world: World):
    lost = Deferred(Reply("closed", phase=Phase.RCPT, reason="The connection was lost."))
    pair, campaign = Pair(world), world.campaign(2, backend="both")
    pair.main.script = lambda message: lost if message.id == world.ids(campaign)[0] else accepted(message)

    await pair.engine.deliver(world.ids(campaign, 2))
    await pair.engine.deliver(world.ids(campaign, 2))

    why = "Not over main: The connection was lost. (closed)."
    assert over(world, campaign) == {("main", None): 1, ("spare", why): 1}
    assert {row.attempts for row in world.rows(campaign)} == {1}


async def test_when_no_backend_takes_a_row_it_is_deferred_and_spent(world: World):
    lost = Deferred(Reply("closed", phase=Phase.RCPT, reason="The connection was lost."))
    pair, campaign = Pair(world), world.campaign(1, backend="both")
    pair.main.script = pair.spare.script = lambda _: lost

    for _ in range(4):
        await pair.engine.deliver(world.ids(campaign, 1))

    [row] = world.rows(campaign)
    assert (row.state, row.attempts, row.backend) == (State.DEFERRED, 1, "spare")
    assert row.due_at > world.clock()
    assert pair.sent == (1, 1)


async def test_what_was_deferred_comes_back_over_the_same_backend(world: World):
    greylisted = Deferred(Reply("greylisted", code=451, phase=Phase.RCPT))
    pair, campaign = Pair(world), world.campaign(1, backend="both")
    pair.main.script = unusable()
    pair.spare.script = lambda _: greylisted

    await pair.engine.deliver(world.ids(campaign, 1))
    await pair.engine.deliver(world.ids(campaign, 1))
    pair.main.script = pair.spare.script = accepted
    world.clock.ahead += 4000
    await pair.engine.deliver(world.ids(campaign, 1))

    assert pair.sent == (0, 2)


async def test_what_may_have_been_sent_waits_for_the_backend_that_has_it(world: World):
    pair, campaign = Pair(world), world.campaign(1, backend="both", on_unknown="retry")
    pair.main.script = lambda _: Unknown(SILENCE)
    await pair.engine.deliver(world.ids(campaign, 1))
    world.clock.ahead += 4000
    pair.main.script = unusable()

    await pair.engine.deliver(world.ids(campaign, 1))
    await pair.engine.deliver(world.ids(campaign, 1))

    assert world.states(campaign) == {State.DEFERRED: 1}
    assert pair.sent == (1, 0)
    pair.main.script = accepted
    world.clock.ahead += 10
    await pair.engine.deliver(world.ids(campaign, 1))
    assert pair.sent == (2, 0)


@pytest.mark.parametrize("fault", [Blocked(REPLY), BackendUnusable("main", "wrong password", True)])
async def test_a_senders_fault_stops_one_backend_and_then_the_next_the_campaign(world: World, fault):
    pair, campaign = Pair(world), world.campaign(30, backend="both")
    pair.main.script = lambda _: fault

    await pair.engine.deliver(world.ids(campaign, 30))
    await pair.engine.deliver(world.ids(campaign, 10))

    assert world.now(campaign).state is CampaignState.RUNNING
    assert world.states(campaign) == {State.ACCEPTED: 10, State.PENDING: 20}
    assert pair.engine.resting("main").until > world.clock() + 200
    pair.spare.script = lambda _: fault
    await pair.engine.deliver(world.ids(campaign, 30))
    stopped = world.now(campaign)
    assert stopped.state is CampaignState.PAUSED
    assert stopped.reason.startswith("route 'both': backend 'main': ")
    assert "; backend 'spare': " in stopped.reason
    assert {row.attempts for row in world.rows(campaign) if row.state is State.PENDING} == {0}
    # Both are tried as soon as somebody says that they are mended.
    pair.main.script = accepted
    world.ledger.campaigns.resume(campaign.id)
    world.clock.ahead += 3
    for _ in range(2):
        await pair.engine.deliver(world.ids(campaign, 30))
        world.clock.ahead += 3
    assert world.states(campaign) == {State.ACCEPTED: 30}


async def test_limits_are_those_of_the_backend_that_carries_the_row(world: World):
    limits = Limits({"spare": BackendRates(("1/h",))})
    pair = Pair(world, throttle=Throttle(limits, MemoryLimiter(limits)))
    first, second = world.campaign(10, backend="both"), world.campaign(10, backend="both")

    await pair.engine.deliver(world.ids(first, 10))
    pair.main.script = unusable()
    for _ in range(2):
        await pair.engine.deliver(world.ids(second, 10))

    assert world.states(first) == {State.ACCEPTED: 10}
    assert world.states(second) == {State.ACCEPTED: 1, State.PENDING: 9}
    assert pair.sent == (10, 1)


async def test_a_route_rests_as_long_as_the_backend_that_is_back_first(world: World):
    pair, campaign = Pair(world), world.campaign(10, backend="both")
    pair.main.script = pair.spare.script = unusable()
    await pair.engine.deliver(world.ids(campaign, 10))
    world.clock.ahead += 1
    await pair.engine.deliver(world.ids(campaign, 10))

    resting = pair.engine.resting("both")
    assert resting.until == pair.engine.resting("main").until < pair.engine.resting("spare").until
    assert resting.reason == "backend 'main': connection refused; backend 'spare': connection refused"
    assert [row.due_at for row in world.rows(campaign)] == pytest.approx([resting.until] * 10, abs=0.5)
    assert (await pair.engine.deliver(world.ids(campaign, 10))).claimed == 0
    pair.main.script = accepted
    world.clock.ahead += 1.5
    await pair.engine.deliver(world.ids(campaign, 10))
    world.clock.ahead += 2
    await pair.engine.deliver(world.ids(campaign, 10))
    assert world.states(campaign) == {State.ACCEPTED: 10}


async def test_a_backend_that_a_person_paused_is_left_out_until_it_is_resumed(world: World):
    pair, campaign = Pair(world), world.campaign(30, backend="both")
    world.ledger.backends.pause("main", "moving house")

    await pair.engine.deliver(world.ids(campaign, 10))
    assert over(world, campaign)["spare", "Not over main: paused by a person."] == 10
    world.ledger.backends.pause("spare", "moving house")
    world.clock.ahead += 2
    assert (await pair.engine.deliver(world.ids(campaign, 20))).claimed == 0
    assert pair.engine.resting("both").until > world.clock()
    world.ledger.backends.resume("main")
    world.clock.ahead += 2
    await pair.engine.deliver(world.ids(campaign, 30))

    assert pair.sent == (20, 10)


async def test_a_pause_of_the_only_backend_ends_when_it_is_resumed(world: World):
    """The pump asks the engine whether it rests; a pause that nobody looks at again would last for ever."""
    campaign, engine = world.campaign(3), world.engine()
    world.ledger.backends.pause("main", "moving house")
    assert (await engine.deliver(world.ids(campaign, 3))).claimed == 0
    assert engine.resting("main").reason == "paused by a person"
    world.ledger.backends.resume("main")

    world.clock.ahead += 1.1
    assert engine.resting("main").until <= world.clock()
    await engine.deliver(world.ids(campaign, 3))

    assert world.states(campaign) == {State.ACCEPTED: 3}


async def test_rows_that_wait_for_a_paused_backend_are_given_back(world: World):
    campaign = world.campaign(40)
    stopped = asyncio.Event()

    async def pause(_):
        if len(world.backend.sent) == 5:
            await world.writer.run(lambda ledger: ledger.backends.pause("main", "moving house"))
            while not engine.resting("main").reason:
                await asyncio.sleep(0.01)
            stopped.set()
        elif len(world.backend.sent) > 5:
            await stopped.wait()

    world.backend.after_mark = pause
    engine = world.engine(lease_seconds=0.4)

    await engine.deliver(world.ids(campaign, 40))

    assert 5 <= len(world.backend.sent) <= 5 + 4  # as many as were under way
    assert world.states(campaign) == {
        State.ACCEPTED: len(world.backend.sent), State.PENDING: 40 - len(world.backend.sent)
    }  # fmt: skip


async def test_one_message_tests_a_backend_that_has_rested(world: World):
    campaign = world.campaign(40)
    world.backend.script = unusable()
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 40))
    world.clock.ahead += 3
    tried = []
    go_on = asyncio.Event()

    async def wait(message):
        tried.append(message.id)
        await go_on.wait()

    world.backend.before_mark = wait
    delivering = asyncio.create_task(engine.deliver(world.ids(campaign, 40)))
    while not tried:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)

    assert len(tried) == 1
    go_on.set()
    await delivering
    assert len(tried) == 1  # it failed again, and nobody else went
    assert world.states(campaign) == {State.PENDING: 40}
    world.backend.script = accepted
    world.clock.ahead += 10
    await engine.deliver(world.ids(campaign, 40))
    assert world.states(campaign) == {State.ACCEPTED: 40}


async def test_while_one_message_tests_the_first_backend_the_others_go_over_the_next(world: World):
    pair, campaign = Pair(world), world.campaign(30, backend="both")
    pair.main.script = unusable()
    await pair.engine.deliver(world.ids(campaign, 30))
    pair.main.script = accepted
    world.clock.ahead += 3

    await pair.engine.deliver(world.ids(campaign, 20))
    await pair.engine.deliver(world.ids(campaign, 30))

    assert pair.sent == (11, 19)


async def test_draining_gives_back_what_waits_behind_a_test(world: World):
    campaign = world.campaign(10)
    world.backend.script = unusable()
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 10))
    world.clock.ahead += 3
    go_on = asyncio.Event()

    async def wait(_):
        engine.drain()
        while world.states(campaign) != {State.PENDING: 9, State.CLAIMED: 1}:
            await asyncio.sleep(0.01)
        go_on.set()

    world.backend.before_mark, world.backend.script = wait, accepted
    await engine.deliver(world.ids(campaign, 10))

    assert go_on.is_set()
    assert world.states(campaign) == {State.PENDING: 9, State.ACCEPTED: 1}


def test_weights_are_kept_for_each_row_and_over_all_rows():
    route = Route("shared", ("main", "spare", "third"), (6, 3, 1))
    orders = [route.order(row) for row in range(10_000)]

    first = Counter(order[0] for order in orders)
    assert [round(first[name] / 1000) for name in route.backends] == [6, 3, 1]
    assert orders == [route.order(row) for row in range(10_000)]
    # Without the first, its rows are spread by the weights of the others.
    second = Counter(order[1] for order in orders if order[0] == "main")
    assert 2.5 < second["spare"] / second["third"] < 3.5


async def test_a_route_by_weight_is_the_same_in_every_process(world: World):
    routes = {"both": Route("both", ("main", "spare"), (1, 1))}
    first, second = Pair(world, routes), Pair(world, routes)
    one = world.campaign(40, backend="both")

    await first.engine.deliver(world.ids(one, 20))
    await second.engine.deliver(world.ids(one, 40))

    expected = {id_: routes["both"].order(id_)[0] for id_ in world.ids(one, 40)}
    assert {row.id: row.backend for row in world.rows(one)} == expected


# Idempotency keys.

KEYS = BackendLimits(concurrency=2, idempotent=True, idempotency_window=3600.0)


async def test_a_provider_that_knows_the_key_is_asked_again_with_the_same(world: World):
    answers = iter([Unknown(SILENCE)])
    world.backend.limits = KEYS
    world.backend.script = lambda message: next(answers, Accepted(REPLY))
    campaign = world.campaign(1)
    engine = world.engine()

    await engine.deliver(world.ids(campaign, 1))
    assert world.states(campaign) == {State.DEFERRED: 1}
    world.clock.ahead += 200
    await engine.deliver(world.ids(campaign, 1))

    assert world.states(campaign) == {State.ACCEPTED: 1}
    assert len({message.idempotency_key for message in world.backend.sent}) == 1
    assert len(world.backend.sent) == 2


async def test_a_key_that_the_provider_has_forgotten_is_not_used(world: World):
    world.backend.limits = KEYS
    world.backend.script = lambda _: Unknown(SILENCE)
    campaign = world.campaign(1)
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 1))
    world.clock.ahead += 3601

    await engine.deliver(world.ids(campaign, 1))

    [row] = world.rows(campaign)
    assert (row.state, row.attempts) == (State.UNKNOWN, 1)
    assert row.reason == "It may have been sent, and cannot be sent again under the same idempotency key."
    assert len(world.backend.sent) == 1


async def test_a_corrected_message_has_another_key_and_is_not_sent_for_the_one_in_doubt(world: World):
    world.backend.limits = KEYS
    world.backend.script = lambda _: Unknown(SILENCE)
    campaign = world.campaign(1)
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 1))
    world.ledger.campaigns.pause(campaign.id, "to correct it")
    world.ledger.campaigns.correct(campaign.id, {"mail": {"subject": "Corrected"}})
    world.ledger.campaigns.resume(campaign.id)
    world.clock.ahead += 200

    for _ in range(2):  # the first finds that the campaign has changed
        await engine.deliver(world.ids(campaign, 1))

    assert world.now(campaign).version == campaign.version + 1
    assert world.states(campaign) == {State.UNKNOWN: 1}
    assert len(world.backend.sent) == 1


async def test_after_a_crash_the_key_decides_as_long_as_the_backend_is_the_same(world: World):
    """Rows that a dead worker left in SENDING: the ledger judges by what was recorded at the opening."""
    spec = {"knows_keys": {"backend": "main", "seconds": 3600.0}}
    same, moved, late = (world.campaign(1, **spec) for _ in range(3))
    for campaign in (same, moved, late):
        claimed = world.ledger.slices.claim(world.ids(campaign, 1), "dead", 60)
        assert world.ledger.slices.mark([(row.id, claimed.fence) for row in claimed.rows]) == [True]
    world.ledger.campaigns.pause(moved.id, "to change it")
    world.ledger.campaigns.set_backend(moved.id, "other")
    world.ledger.campaigns.resume(moved.id)
    world.ledger.slices.abandon("dead")
    recovered = world.ledger.slices.recover()

    assert (recovered.retried, recovered.unknown) == (2, 1)
    assert world.states(moved) == {State.UNKNOWN: 1}
    world.backend.limits = replace(KEYS)
    engine = world.engine()
    await engine.deliver(world.ids(same, 1))
    assert world.states(same) == {State.ACCEPTED: 1}
    world.clock.ahead += 3601
    await engine.deliver(world.ids(late, 1))
    assert world.states(late) == {State.UNKNOWN: 1}
    assert len(world.backend.sent) == 1


LATER = Deferred(Reply("busy", code=503, phase=Phase.REQUEST))
NO_ENTRY = Deferred(Reply("refused", phase=Phase.CONNECT))


@pytest.mark.parametrize("then", [LATER, NO_ENTRY])
async def test_what_may_have_been_sent_stays_in_doubt_when_the_next_try_is_put_off(world: World, then):
    """Otherwise it went out once more when the provider had forgotten the key, or over another backend."""
    answers = iter([Unknown(SILENCE), then])
    world.backend.limits = KEYS
    world.backend.script = lambda message: next(answers, Accepted(REPLY))
    campaign = world.campaign(1)
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 1))
    world.clock.ahead += 200
    await engine.deliver(world.ids(campaign, 1))
    assert world.states(campaign) == {State.DEFERRED: 1}

    world.clock.ahead += 3600
    await engine.deliver(world.ids(campaign, 1))

    assert world.states(campaign) == {State.UNKNOWN: 1}
    assert len(world.backend.sent) == 2


async def test_the_end_of_its_time_does_not_make_it_unsent(world: World):
    world.backend.limits = KEYS
    world.backend.script = lambda _: Unknown(SILENCE)
    campaign = world.campaign(1, expires_in=1000)
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 1))
    world.clock.ahead += 1001

    await engine.deliver(world.ids(campaign, 1))

    assert world.states(campaign) == {State.UNKNOWN: 1}
    assert len(world.backend.sent) == 1


@pytest.mark.parametrize("claimed", [False, True])
async def test_cancelling_does_not_make_it_unsent(world: World, claimed: bool):
    answers = iter([Unknown(SILENCE)])
    world.backend.limits = KEYS
    world.backend.script = lambda message: next(answers, LATER)
    campaign = world.campaign(3)
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 2))
    world.clock.ahead += 200
    if claimed:
        world.ledger.slices.claim(world.ids(campaign, 3), "dead", 60)

    world.ledger.campaigns.cancel(campaign.id)
    world.ledger.slices.abandon("dead")
    world.ledger.slices.recover()

    assert world.states(campaign) == {State.UNKNOWN: 1, State.CANCELLED: 2}
    assert world.ledger.singles.cancel(world.ids(campaign, 1)[0]) is False


async def test_a_suppression_does_not_make_it_unsent(world: World):
    world.backend.limits = KEYS
    world.backend.script = lambda _: Unknown(SILENCE)
    campaign = world.campaign(1)
    engine = world.engine()
    await engine.deliver(world.ids(campaign, 1))
    world.ledger.suppressions.add(world.rows(campaign)[0].address, reason="asked for it")
    world.clock.ahead += 200

    await engine.deliver(world.ids(campaign, 1))

    assert world.states(campaign) == {State.UNKNOWN: 1}


async def test_after_a_crash_what_went_over_another_backend_is_not_sent_over_this_one(world: World):
    """The keys of a backend count for what was claimed after the campaign came to it."""
    keys = {"backend": "main", "seconds": 3600.0}
    campaign = world.campaign(2, knows_keys=keys)
    first, second = world.ids(campaign, 2)
    world.ledger.campaigns.set_backend(campaign.id, "other")
    for row, then in ((first, "main"), (second, None)):
        claimed = world.ledger.slices.claim([row], "dead", 60)
        assert world.ledger.slices.mark([(row, claimed.fence)]) == [True]
        if then:
            world.ledger.campaigns.set_backend(campaign.id, then, keys)
    world.ledger.slices.abandon("dead")

    recovered = world.ledger.slices.recover()

    assert (recovered.retried, recovered.unknown) == (1, 1)
    states = {row.id: row.state for row in world.rows(campaign)}
    assert states == {first: State.UNKNOWN, second: State.PENDING}
