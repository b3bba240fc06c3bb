"""The engine over a real ledger: what each outcome leaves behind, and what may never happen."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest
from sqlalchemy import select

from mailer.delivery.breaker import LONGEST_REST, Breaker, Circuit
from mailer.delivery.engine import Engine
from mailer.delivery.limits.memory import MemoryLimiter
from mailer.delivery.limits.plan import BackendRates, Limits
from mailer.delivery.safety import Safety
from mailer.delivery.throttle import Throttle
from mailer.errors import BackendUnusable
from mailer.ledger.contract import CampaignState, ordinal_of
from mailer.ledger.schema import lease
from mailer.message import Accepted, Blocked, Deferred, Phase, Rejected, Reply, State, Unknown
from tests.delivering import ScriptedBackend, World, accepted
from tests.servers import PATIENCE

REPLY = Reply("what it said", code=450, enhanced="4.2.1", phase=Phase.RCPT, reason="In words.")
#: Workers of the test's backend: what may be under way when something happens.
UNDER_WAY = 4
RUNNING, PAUSED = CampaignState.RUNNING, CampaignState.PAUSED


@pytest.mark.parametrize(
    ("outcome", "on_unknown", "state", "attempts", "campaign_state"),
    [
        (Accepted(REPLY, "ref-1"), "hold", State.ACCEPTED, 1, RUNNING),
        (Deferred(REPLY), "hold", State.DEFERRED, 1, RUNNING),
        (Deferred(REPLY, retry_after=90.0), "hold", State.DEFERRED, 1, RUNNING),
        (Deferred(REPLY, retry_after=1e9), "hold", State.FAILED, 1, RUNNING),
        (Rejected(REPLY), "hold", State.REJECTED, 1, RUNNING),
        (Unknown(REPLY), "hold", State.UNKNOWN, 1, RUNNING),
        (Unknown(REPLY), "retry", State.DEFERRED, 1, RUNNING),
        (Blocked(REPLY), "hold", State.PENDING, 0, PAUSED),
    ],
)
async def test_each_outcome_leaves_its_state(
    world: World, outcome, on_unknown, state, attempts, campaign_state
):
    world.backend.script = lambda _: outcome
    campaign = world.campaign(1, on_unknown=on_unknown)

    await world.engine(rng=Random(1)).deliver(world.ids(campaign, 1))

    [row] = world.rows(campaign)
    assert (row.state, row.attempts) == (state, attempts)
    if state is State.DEFERRED:
        assert row.due_at > world.clock()
    if attempts:
        assert (row.code, row.enhanced, row.reply) == (450, "4.2.1", "what it said")
    assert world.now(campaign).state == campaign_state


async def test_what_was_accepted_can_be_found_at_the_other_side(world: World):
    campaign = world.campaign(1)

    await world.engine().deliver(world.ids(campaign, 1))

    [row] = world.rows(campaign)
    assert (row.backend, row.reference) == ("main", world.backend.sent[0].message_id)


async def test_an_address_that_does_not_exist_is_suppressed_for_the_next_campaign(world: World):
    world.backend.script = lambda _: Rejected(REPLY, suppress=True)
    first = world.campaign(1)
    await world.engine().deliver(world.ids(first, 1))
    world.backend.script = accepted
    second = world.campaign(1)

    delivered = await world.engine().deliver(world.ids(second, 1))

    assert world.states(second) == {State.SUPPRESSED: 1}
    assert (delivered.claimed, delivered.spent) == (1, 1)
    assert len(world.backend.sent) == 1


async def test_a_row_that_cannot_be_rendered_fails_alone(world: World):
    campaign = world.campaign([{}, {"broken": "'name' is undefined"}, {}])

    await world.engine().deliver(world.ids(campaign, 3))

    states = [(row.state, row.reason) for row in world.rows(campaign)]
    assert states == [(State.ACCEPTED, None), (State.FAILED, "'name' is undefined"), (State.ACCEPTED, None)]


async def test_hints_may_come_twice_and_at_once(world: World):
    campaign = world.campaign(50)
    ids = world.ids(campaign, 50)
    engines = [world.engine(), world.engine()]

    await asyncio.gather(*(engine.deliver(ids) for engine in engines * 3))

    assert set(world.backend.copies().values()) == {1}
    assert world.states(campaign) == {State.ACCEPTED: 50}


async def test_every_attempt_sends_the_same_message(world: World):
    outcomes = iter([Deferred(REPLY, retry_after=0.0), Deferred(REPLY, retry_after=0.0)])
    world.backend.script = lambda message: next(outcomes, accepted(message))
    campaign = world.campaign(1)
    engine = world.engine()

    for _ in range(3):
        await engine.deliver(world.ids(campaign, 1))
        world.clock.ahead += 4000

    assert [message.attempt for message in world.backend.sent] == [1, 2, 3]
    assert len({(m.data, m.message_id, m.idempotency_key) for m in world.backend.sent}) == 1


# Leases.


async def test_a_row_whose_lease_was_lost_is_not_sent(world: World):
    lost = asyncio.Event()

    async def lose_lease(message):
        if ordinal_of(message.id) == 1:
            await world.writer.run(lambda ledger: ledger.slices.abandon("engine-0"))
            await world.writer.run(lambda ledger: ledger.slices.recover())
            lost.set()
        await lost.wait()

    world.backend.before_mark = lose_lease
    campaign = world.campaign(4)
    engine = world.engine()

    await engine.deliver(world.ids(campaign, 4))

    assert world.backend.sent == []
    world.backend.before_mark = None
    assert world.states(campaign) == {State.PENDING: 4}
    await engine.deliver(world.ids(campaign, 4))
    assert world.states(campaign) == {State.ACCEPTED: 4}
    assert set(world.backend.copies().values()) == {1}


async def test_a_definite_answer_counts_although_the_lease_ran_out_meanwhile(world: World):
    async def expire(_):
        await world.writer.run(lambda ledger: ledger.slices.abandon("engine-0"))
        await world.writer.run(lambda ledger: ledger.slices.recover())
        seen.append(world.states(campaign))

    seen = []
    world.backend.after_mark = expire
    campaign = world.campaign(1)

    await world.engine().deliver(world.ids(campaign, 1))

    assert seen == [{State.UNKNOWN: 1}]
    assert world.states(campaign) == {State.ACCEPTED: 1}


async def test_leases_of_a_slow_slice_are_renewed(world: World, monkeypatch):
    monkeypatch.setattr("mailer.delivery.keeper.LOOK_SECONDS", 0.02)

    def over_at() -> float:
        with world.ledger.database.read() as connection:
            return connection.scalar(select(lease.c.until))

    async def slow(_):
        for _ in range(2):
            before = over_at()
            world.clock.ahead += 50.0
            async with asyncio.timeout(PATIENCE):
                while over_at() <= before:
                    await asyncio.sleep(0.01)

    world.backend.before_mark = slow
    campaign = world.campaign(1)

    await world.engine(lease_seconds=60.0).deliver(world.ids(campaign, 1))

    assert world.states(campaign) == {State.ACCEPTED: 1}


# Stopping.


def stop_after(world: World, engine: Engine, count: int, action) -> None:
    """After ``count`` messages do ``action``; no other goes on before the engine has noticed."""
    noticed = asyncio.Event()

    async def hook(_):
        if len(world.backend.sent) == count:
            await world.writer.run(action)
            await engine.look()
            noticed.set()
        elif len(world.backend.sent) > count:
            await noticed.wait()

    world.backend.after_mark = hook


async def test_a_pause_lets_finish_what_is_under_way_and_gives_back_the_rest(world: World):
    campaign, engine = world.campaign(60), world.engine()
    stop_after(world, engine, 10, lambda ledger: ledger.campaigns.pause(campaign.id, "by hand"))

    delivered = await engine.deliver(world.ids(campaign, 60))

    sent = len(world.backend.sent)
    assert 10 <= sent <= 10 + UNDER_WAY
    assert world.states(campaign) == {State.ACCEPTED: sent, State.PENDING: 60 - sent}
    assert delivered.spent == sent
    await world.writer.run(lambda ledger: ledger.campaigns.resume(campaign.id))
    world.backend.after_mark = None
    await engine.deliver(world.ids(campaign, 60))
    assert world.states(campaign) == {State.ACCEPTED: 60}
    assert set(world.backend.copies().values()) == {1}


async def test_a_cancelled_campaign_keeps_nothing_pending(world: World):
    campaign, engine = world.campaign(60), world.engine()
    stop_after(world, engine, 10, lambda ledger: ledger.campaigns.cancel(campaign.id))

    await engine.deliver(world.ids(campaign, 60))

    sent = len(world.backend.sent)
    assert 10 <= sent <= 10 + UNDER_WAY
    assert world.states(campaign) == {State.ACCEPTED: sent, State.CANCELLED: 60 - sent}


async def test_a_paused_campaign_is_not_claimed(world: World):
    campaign = world.campaign(3)
    world.ledger.campaigns.pause(campaign.id, "by hand")

    delivered = await world.engine().deliver(world.ids(campaign, 3))

    assert (delivered.claimed, world.backend.sent) == (0, [])


async def test_draining_gives_back_what_was_not_started(world: World):
    campaign = world.campaign(40)
    engine = world.engine()

    async def drain_at_five(_):
        if len(world.backend.sent) == 5:
            engine.drain()

    world.backend.after_mark = drain_at_five

    await engine.deliver(world.ids(campaign, 40))

    sent = len(world.backend.sent)
    assert 5 <= sent <= 5 + UNDER_WAY
    assert world.states(campaign) == {State.ACCEPTED: sent, State.PENDING: 40 - sent}
    assert (await engine.deliver(world.ids(campaign, 40))).claimed == 0


# A backend out of order.


async def test_a_passing_fault_spends_nothing_and_lets_the_backend_rest(world: World):
    world.backend.script = lambda _: BackendUnusable("main", "connection refused")
    campaign = world.campaign(20)
    engine = world.engine()

    await engine.deliver(world.ids(campaign, 20))

    rows = world.rows(campaign)
    assert world.now(campaign).state == RUNNING
    assert {(row.state, row.attempts) for row in rows} == {(State.PENDING, 0)}
    assert [row.due_at for row in rows] == pytest.approx([engine.resting("main").until] * 20, abs=0.5)
    assert engine.resting("main").reason == "connection refused"
    assert (await engine.deliver(world.ids(campaign, 20))).claimed == 0
    world.backend.script = accepted
    world.clock.ahead += 10
    await engine.deliver(world.ids(campaign, 20))
    assert world.states(campaign) == {State.ACCEPTED: 20}


async def test_a_lasting_fault_pauses_the_campaign_with_its_reason(world: World):
    world.backend.script = lambda _: BackendUnusable("main", "535 5.7.8 wrong password", True)
    campaign = world.campaign(20)

    await world.engine().deliver(world.ids(campaign, 20))

    assert world.states(campaign) == {State.PENDING: 20}
    assert world.now(campaign).state == PAUSED
    assert world.now(campaign).reason == "backend 'main': 535 5.7.8 wrong password"


async def test_the_senders_fault_is_told_in_words(world: World):
    world.backend.script = lambda _: Blocked(REPLY)
    campaign = world.campaign(20)

    await world.engine().deliver(world.ids(campaign, 20))

    assert world.now(campaign).reason == "backend 'main': In words. (450 4.2.1 what it said)"
    assert {row.attempts for row in world.rows(campaign)} == {0}


async def test_a_backend_that_is_not_set_up_pauses_the_campaign(world: World):
    campaign = world.campaign(3, backend="other")

    delivered = await world.engine().deliver(world.ids(campaign, 3))

    assert delivered.claimed == 0
    assert world.now(campaign).reason == "the campaign wants backend 'other', which is not set up"


async def test_what_no_contract_foresees_is_raised_and_left_to_recovery(world: World):
    world.backend.script = lambda message: ZeroDivisionError()
    campaign = world.campaign(3)
    engine = world.engine()

    with pytest.raises(ZeroDivisionError):
        await engine.deliver(world.ids(campaign, 3))

    world.ledger.slices.abandon("engine-0")
    world.ledger.slices.recover()
    assert world.states(campaign) == {State.PENDING: 3}


def test_a_rest_doubles_while_the_backend_does_not_come_back():
    breaker = Breaker()
    ends = []
    now = 0.0
    for _ in range(10):
        now = breaker.failed(now, "connection refused")
        ends.append(now)

    lengths = [end - begin for begin, end in zip([0.0, *ends], ends, strict=False)]
    assert lengths == [2, 4, 8, 16, 32, 64, 128, 256, LONGEST_REST, LONGEST_REST]


def test_failures_during_a_rest_do_not_lengthen_it_and_success_after_it_forgets_it():
    breaker = Breaker()

    assert [breaker.failed(now, "refused") for now in (0.0, 1.0, 2.0)] == [2.0, 2.0, 6.0]
    breaker.worked(5.0)  # the answer to what was sent before
    assert breaker.circuit(5.0) is Circuit.OPEN
    assert breaker.circuit(6.0) is Circuit.HALF_OPEN
    breaker.worked(6.0)
    assert breaker.circuit(6.0) is Circuit.CLOSED
    assert breaker.failed(10.0, "refused") == 12.0


# Metrics.


async def test_an_observer_hears_of_every_row(world: World):
    heard = []

    class Listener:
        def hint(self, claimed):
            heard.append(("hint", claimed))

        def settled(self, state, backend):
            heard.append((state, backend))

        def waited(self, backend, seconds):
            heard.append(("waited", backend, seconds > 0))

        def rested(self, backend, seconds):
            heard.append(("rested", backend, seconds))

    outcomes = iter([Accepted(REPLY), BackendUnusable("main", "connection refused")])
    world.backend.script = lambda _: next(outcomes)
    world.backend.limits = type(world.backend.limits)(concurrency=1)
    limits = throttle(main=BackendRates(lanes={"lane-1": ("1/h",)}))
    campaign = world.campaign(4, lanes=2)

    await world.engine(observer=Listener(), throttle=limits).deliver(world.ids(campaign, 4))

    assert Counter(heard) == {
        ("hint", 4): 1,
        ("waited", "main", True): 1,
        (State.ACCEPTED, "main"): 1,
        (State.PENDING, "main"): 3,
        ("rested", "main", 2.0): 1,
    }


# Limits, safety, time.


def throttle(**rates: BackendRates) -> Throttle:
    limits = Limits(rates)
    return Throttle(limits, MemoryLimiter(limits))


async def test_what_a_limit_holds_back_is_given_back_unspent_with_a_time(world: World):
    campaign = world.campaign(30, lanes=2)
    engine = world.engine(throttle=throttle(main=BackendRates(lanes={"lane-1": ("1/h",)})))

    await engine.deliver(world.ids(campaign, 30))

    rows = world.rows(campaign)
    held = [row for row in rows if row.state is State.PENDING]
    assert world.states(campaign) == {State.ACCEPTED: 16, State.PENDING: 14}
    assert {row.attempts for row in held} == {0}
    assert min(row.due_at for row in held) > world.clock()


async def test_rows_of_one_lane_do_not_wait_for_the_limits_of_another(world: World):
    """A take may wait a moment for its window; a lane that was slowed down waits at each."""
    limits = Limits({"main": BackendRates(lanes={"lane-1": ("1/h",)})})
    go_on = asyncio.Event()

    class Waiting(MemoryLimiter):
        async def take(self, keys, wanted, *, urgent=False):
            await go_on.wait()
            return await super().take(keys, wanted)

    campaign = world.campaign(20, lanes=2)
    engine = world.engine(throttle=Throttle(limits, Waiting(limits)))
    delivering = asyncio.create_task(engine.deliver(world.ids(campaign, 20)))

    while len(world.backend.sent) < 10:
        await asyncio.sleep(0.01)

    assert world.backend.copies().keys() == {f"person-{n}@lane-0.example" for n in range(2, 21, 2)}
    go_on.set()
    await delivering
    assert world.states(campaign) == {State.ACCEPTED: 11, State.PENDING: 9}


async def test_a_lane_that_is_slowed_down_slows_no_other(world: World):
    slow = Deferred(REPLY, slow_down=True, retry_after=60.0)
    world.backend.script = lambda message: slow if "lane-1" in message.recipients[0] else accepted(message)
    limits = Limits({})
    campaign = world.campaign(200, lanes=2)
    engine = world.engine(throttle=Throttle(limits, MemoryLimiter(limits)))

    await engine.deliver(world.ids(campaign, 2))
    await engine.deliver(world.ids(campaign, 200))

    sent = world.states(campaign)
    assert sent[State.ACCEPTED] == 100
    assert sent[State.DEFERRED] < 10
    assert sent[State.PENDING] > 90


async def test_a_provider_that_asks_for_less_gets_less(world: World):
    world.backend.script = lambda _: Deferred(REPLY, slow_down=True)
    limits = Limits({})
    slowed = Throttle(limits, MemoryLimiter(limits))
    campaign = world.campaign(1)

    await world.engine(throttle=slowed).deliver(world.ids(campaign, 1))

    assert slowed.keys("main", "lane-0", campaign.id) == ("lane:main:lane-0",)
    assert slowed.keys("main", "lane-1", campaign.id) == ()


async def test_safety_is_enforced_for_copies_too(world: World):
    campaign = world.campaign([{}, {"copies": ["boss@elsewhere.example"]}])
    engine = world.engine(safety=Safety(allow_recipients=("*@lane-0.example",)))

    await engine.deliver(world.ids(campaign, 2))

    states = [(row.state, row.reason) for row in world.rows(campaign)]
    assert states == [(State.ACCEPTED, None), (State.FAILED, "not in [safety] allow_recipients")]


async def test_redirected_mail_keeps_its_content(world: World):
    campaign = world.campaign([{"copies": ["boss@elsewhere.example"]}])
    await world.engine(safety=Safety(redirect_to="me@acme.example")).deliver(world.ids(campaign, 1))

    [message] = world.backend.sent
    assert message.recipients == ("me@acme.example",)
    assert message.message_id.encode() in message.data


async def test_rows_expire(world: World):
    campaign = world.campaign(3, expires_in=60)
    world.clock.ahead += 61

    await world.engine().deliver(world.ids(campaign, 3))

    assert (world.states(campaign), world.backend.sent) == ({State.EXPIRED: 3}, [])


async def test_batches_go_where_they_pay(world: World):
    sizes = []

    class Batched(ScriptedBackend):
        async def send(self, batch, mark, /):
            sizes.append(len(batch))
            return await super().send(batch, mark)

    backend = Batched()
    backend.limits = type(backend.limits)(batch=30, concurrency=1, batched=True)
    campaign = world.campaign(70)

    await world.engine({"main": backend}).deliver(world.ids(campaign, 70))

    assert sorted(sizes) == [10, 30, 30]
    assert world.states(campaign) == {State.ACCEPTED: 70}


async def test_transactional_mail_goes_before_bulk_that_waits_for_the_same_backend(world: World):
    gate = asyncio.Event()
    world.backend.before_mark = lambda _: gate.wait()
    engine = world.engine()
    bulk, urgent = world.campaign(50), world.campaign(3, stream="transactional")
    waits = [asyncio.create_task(engine.deliver(world.ids(bulk, 50)))]
    queue = engine._fleet["main"]._queue
    while len(queue) != 50 - UNDER_WAY:
        await asyncio.sleep(0)
    waits.append(asyncio.create_task(engine.deliver(world.ids(urgent, 3))))
    while len(queue) != 50 - UNDER_WAY + 3:
        await asyncio.sleep(0)

    gate.set()
    await asyncio.gather(*waits)

    urgently = [n for n, message in enumerate(world.backend.sent) if message.id in world.ids(urgent, 3)]
    assert max(urgently) < 2 * UNDER_WAY + 3
    assert len(world.backend.sent) == 53
