"""The pump: who is hinted, how much, and when it stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from mailer.delivery.carrier import Resting
from mailer.delivery.contract import Hint
from mailer.delivery.dispatcher import Done, InProcess
from mailer.delivery.epoch import RESTORED, SidecarEpoch, accept, is_restored
from mailer.delivery.jobs import Delivered
from mailer.delivery.limits.memory import MemoryLimiter
from mailer.delivery.limits.plan import BackendRates, Limits
from mailer.delivery.oversight import Care
from mailer.delivery.pump import LIST_SECONDS, Allowance, Pump
from mailer.delivery.throttle import Throttle
from mailer.errors import BackendUnusable, LedgerError
from mailer.ledger.contract import Campaign, CampaignState, Runner, campaign_of, ordinal_of
from mailer.ledger.schedule import MISSED
from mailer.message import Deferred, Reply, State
from tests.delivering import ScriptedBackend, World, accepted
from tests.servers import PATIENCE


class Desk:
    """A dispatcher that only collects hints."""

    def __init__(self, capacity: int = 10_000) -> None:
        self.capacity = capacity
        self.hints: list[Hint] = []

    def free(self, stream: str = "bulk") -> int:
        return self.capacity - len(self.outstanding())

    def outstanding(self) -> frozenset[int]:
        return frozenset(id_ for hint in self.hints for id_ in hint.ids)

    async def dispatch(self, hint: Hint) -> None:
        self.hints.append(hint)

    async def drain(self, seconds: float) -> bool:
        return True

    async def close(self) -> None: ...


def pump(world: World, dispatcher, **settings) -> Pump:
    return Pump(
        world.writer,
        dispatcher,
        **{"runner": Runner.WORKERS, "worker": "pump-1", "clock": world.clock} | settings,
    )


def working(world: World, engine, **settings) -> Pump:
    """A pump that drives this engine in this process."""
    capacity = settings.pop("capacity", 600)
    made: Pump

    def done(done: Done) -> None:
        made.done(done)

    made = pump(world, InProcess(engine, capacity=capacity, done=done), rests=engine.resting, **settings)
    return made


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


async def run_until(made: Pump, true: Callable[[], object]) -> None:
    """Let the pump run until ``true()``."""
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    try:
        await until(lambda: running.done() or true())
    finally:
        stop.set()
        made.wake()
        await running


def finished(world: World, *campaigns) -> Callable[[], bool]:
    return lambda: all(world.now(one).state is CampaignState.FINISHED for one in campaigns)


async def test_a_campaign_is_brought_to_its_end(world: World):
    campaign = world.campaign(1234)

    await run_until(working(world, world.engine()), finished(world, campaign))

    assert world.states(campaign) == {State.ACCEPTED: 1234}
    assert set(world.backend.copies().values()) == {1}


@pytest.mark.parametrize("size", [1, 7])
async def test_slices_have_the_size_asked_for(world: World, size):
    campaign = world.campaign(20, recipients_per_task=size)
    desk = Desk()

    await pump(world, desk).tick()

    sizes = [len(hint.ids) for hint in desk.hints]
    assert sum(sizes) == 20
    assert max(sizes) == size
    assert {hint.stream for hint in desk.hints} == {"bulk"}
    assert desk.outstanding() == frozenset(world.ids(campaign, 20))


async def test_no_row_is_hinted_twice_and_no_more_than_is_free(world: World):
    world.campaign(5000)
    desk = Desk(capacity=1000)
    made = pump(world, desk)

    for _ in range(3):
        await made.tick()

    ids = [id_ for hint in desk.hints for id_ in hint.ids]
    assert len(ids) == len(set(ids)) == 1000


async def test_rows_that_are_not_due_wait_until_they_are(world: World):
    outcomes = iter([Deferred(Reply("later", code=451))])
    world.backend.script = lambda message: next(outcomes, accepted(message))
    campaign = world.campaign(1)
    made = working(world, world.engine())
    await run_until(made, lambda: world.states(campaign) == {State.DEFERRED: 1})
    desk = Desk()
    waiting = pump(world, desk)

    assert await waiting.tick() > 0
    assert desk.hints == []
    assert waiting.idle_until() == world.rows(campaign)[0].due_at

    world.clock.ahead += 200
    await waiting.tick()
    assert [hint.ids for hint in desk.hints] == [tuple(world.ids(campaign, 1))]


async def test_a_small_campaign_is_done_before_a_large_one_has_sent_two_percent_more(world: World):
    """Opened behind it, and looked at exactly: the large one is stopped the moment the small one is done."""
    large = world.campaign(60_000)
    late: list[Campaign] = []
    order: Counter[int] = Counter()

    async def note(message):
        order[campaign_of(message.id)] += 1
        if order.total() == 500:  # in the middle of a slice
            order.clear()
            late.append(await world.writer.run(lambda _: world.campaign(100)))
            world.clock.ahead += LIST_SECONDS  # seen at the next look, however fast this machine sends
        if late and order[late[0].id] == 100 and not seen:
            seen.append(order[large.id])

    seen: list[int] = []
    world.backend.after_mark = note
    await run_until(working(world, world.engine()), lambda: seen)

    assert seen[0] <= large.total * 2 // 100


async def test_a_higher_priority_goes_before_whatever_is_under_way(world: World):
    world.campaign(5000)
    desk = Desk(capacity=1000)
    made = pump(world, desk)
    await made.tick()
    urgent = world.campaign(300)
    world.ledger.campaigns.set_priority(urgent.id, 5)
    desk.hints.clear()
    world.clock.ahead += 1

    await made.tick()

    assert [campaign_of(hint.ids[0]) for hint in desk.hints][:2] == [urgent.id, urgent.id]


async def test_campaigns_of_equal_size_share_what_is_free(world: World):
    campaigns = [world.campaign(2000) for _ in range(4)]
    desk = Desk(capacity=1600)

    await pump(world, desk).tick()

    shares = Counter(campaign_of(id_) for id_ in desk.outstanding())
    assert shares == {campaign.id: 400 for campaign in campaigns}


async def test_transactional_mail_goes_first(world: World):
    world.campaign(2000)
    urgent = world.campaign(300, stream="transactional")
    desk = Desk(capacity=400)

    await pump(world, desk).tick()

    assert campaign_of(desk.hints[0].ids[0]) == urgent.id
    assert desk.hints[0].stream == "transactional"


async def test_a_limited_lane_is_not_claimed_again_and_again(world: World):
    limits = Limits({"main": BackendRates(lanes={"lane-0": ("60/h",)})})
    throttle = Throttle(limits, MemoryLimiter(limits, clock=world.clock))
    campaign = world.campaign(3000, lanes=3)
    claims = Counter()

    class Counting:
        def __init__(self, engine):
            self._engine = engine

        async def deliver(self, ids: Sequence[int]) -> Delivered:
            claims.update("limited" if ordinal_of(id_) % 3 == 0 else "free" for id_ in ids)
            return await self._engine.deliver(ids)

        def __getattr__(self, name):
            return getattr(self._engine, name)

    made = working(world, Counting(world.engine(throttle=throttle)), throttle=throttle)

    await run_until(
        made, lambda: claims["free"] >= 2000 and world.states(campaign).get(State.ACCEPTED, 0) >= 2001
    )

    assert claims["free"] == 2000
    assert claims["limited"] <= 200


async def test_a_campaign_over_its_own_limit_holds_back_nobody(world: World):
    limits = Limits({})
    throttle = Throttle(limits, MemoryLimiter(limits, clock=world.clock))
    slow = world.campaign(500, rates=["10/h"])
    fast = world.campaign(500)

    made = working(world, world.engine(throttle=throttle), throttle=throttle)
    await run_until(made, finished(world, fast))

    assert world.states(fast) == {State.ACCEPTED: 500}
    assert world.states(slow)[State.ACCEPTED] <= 10


async def test_it_says_for_how_long_limits_hold_back_everything(world: World):
    """Then it is no alarm that nothing moves."""
    limits = Limits({"main": BackendRates(("10/h",))})
    throttle = Throttle(limits, MemoryLimiter(limits, clock=world.clock))
    slow = world.campaign(100)
    made = working(world, world.engine(throttle=throttle), throttle=throttle)
    assert made.held_back() == 0.0

    await run_until(made, lambda: made.held_back() > 0)
    assert 0 < world.states(slow)[State.ACCEPTED] <= 10
    assert made.held_back() <= 3600.0

    desk = Desk()
    other = pump(world, desk, throttle=throttle, worker="pump-2")
    world.ledger.schedule.resign(made.name, "pump-1")
    await other.tick()
    assert other.held_back() > 0.0
    world.campaign(100, backend="unlimited")
    world.clock.ahead += 1
    await other.tick()
    assert other.held_back() == 0.0
    assert len(desk.outstanding()) == 100


async def test_a_scheduled_campaign_starts_when_its_time_has_come(world: World):
    campaign = world.campaign(3, start_at=world.clock() + 3600)
    desk = Desk()
    made = pump(world, desk)

    await made.tick()
    assert desk.hints == []

    world.clock.ahead += 3601
    await made.tick()
    assert desk.outstanding() == frozenset(world.ids(campaign, 3))


async def test_only_one_pump_leads(world: World):
    world.campaign(10)
    first, second = Desk(), Desk()
    leader, other = pump(world, first), pump(world, second, worker="pump-2")

    await leader.tick()
    await other.tick()
    assert (len(first.hints), len(second.hints)) == (1, 0)

    world.clock.ahead += 6  # the leader shows no sign of life
    await other.tick()
    assert len(second.hints) == 1


async def test_a_resting_backend_is_left_alone(world: World):
    world.campaign(10)
    desk = Desk()
    resting = Resting(world.clock() + 100, "connection refused")
    made = pump(world, desk, rests=lambda _: resting)

    await made.tick()
    assert desk.hints == []
    assert made.idle_until() == resting.until

    world.clock.ahead += 101
    await made.tick()
    assert len(desk.hints) == 1


async def test_an_allowance_is_exact_to_the_row(world: World):
    campaign = world.campaign(1000)
    allowance = Allowance(321)
    made = working(world, world.engine(), allowance=allowance)

    await run_until(made, lambda: allowance.left == 0)

    assert world.states(campaign) == {State.ACCEPTED: 321, State.PENDING: 679}


async def test_leases_that_ran_out_are_recovered(world: World):
    campaign = world.campaign(3)
    await world.writer.claim(world.ids(campaign, 3), "dead", 30.0)
    desk = Desk()
    made = pump(world, desk)
    await made.tick()
    assert desk.hints == []

    world.clock.ahead += 31
    await made.tick()
    assert desk.outstanding() == frozenset(world.ids(campaign, 3))


async def test_what_ends_a_slice_ends_the_pump(world: World):
    campaign = world.campaign(3)
    desk = Desk()
    made = pump(world, desk)
    await made.tick()

    made.done(Done(Hint(tuple(world.ids(campaign, 3))), Delivered(), LedgerError("the disk is full")))

    with pytest.raises(LedgerError, match="the disk is full"):
        await made.tick()


async def test_a_million_rows_cost_no_more_than_a_few(world: World):
    """Counted in rows read, not in time: a tick reads ahead, and no further."""
    world.campaign(9000)
    desk = Desk(capacity=600)
    read = Counter()
    due = world.ledger.schedule.due

    def counted(campaign_id, lane, limit):
        found = due(campaign_id, lane, limit)
        read["rows"] += len(found)
        return found

    world.ledger.schedule.due = counted
    await pump(world, desk).tick()

    assert read["rows"] <= 2600


# A ledger restored from a backup.


async def test_the_epoch_is_raised_and_copied(world: World, tmp_path):
    copy = SidecarEpoch(tmp_path / "mailer.db.epoch")
    made = pump(world, Desk(), epoch_copy=copy)
    born = world.ledger.schedule.epoch()

    for _ in range(3):
        await made.tick()
        world.clock.ahead += 1.1

    assert copy.read() == world.ledger.schedule.epoch() == born + 3


async def test_a_backup_from_before_the_first_send_is_noticed(world: World, tmp_path):
    copy = SidecarEpoch(tmp_path / "mailer.db.epoch")
    born = world.ledger.schedule.epoch()
    await pump(world, Desk(), epoch_copy=copy).tick()

    assert copy.read() > born  # so a ledger that still says ``born`` is older than the copy
    assert not is_restored(world.ledger, copy)


async def test_a_new_ledger_beside_an_old_copy_is_not_taken_for_a_restored_one(world: World, tmp_path):
    copy = SidecarEpoch(tmp_path / "mailer.db.epoch")
    copy.write(world.ledger.schedule.epoch() - 1)

    assert not is_restored(world.ledger, copy)


async def test_a_restored_ledger_stops_its_campaigns_until_a_person_says_so(world: World, tmp_path):
    campaign = world.campaign(10)
    copy = SidecarEpoch(tmp_path / "mailer.db.epoch")
    await pump(world, Desk(), epoch_copy=copy).tick()
    copy.write(copy.read() + 60)
    desk = Desk()
    world.clock.ahead += 1.1

    await pump(world, desk, epoch_copy=copy).tick()

    assert desk.hints == []
    assert world.now(campaign).state is CampaignState.PAUSED
    assert world.now(campaign).reason == RESTORED
    accept(world.ledger, copy)
    assert not is_restored(world.ledger, copy)


@pytest.mark.parametrize("text", [None, "", "not a number"])
def test_without_a_copy_nothing_was_restored(world: World, tmp_path, text):
    path = tmp_path / "copy"
    if text is not None:
        path.write_text(text)

    assert not is_restored(world.ledger, SidecarEpoch(path))


# What people change meanwhile.


async def test_a_change_takes_effect_without_a_new_pump_or_engine(world: World):
    other = ScriptedBackend()
    campaign = world.campaign(3000)
    engine = world.engine({"main": world.backend, "other": other})
    made = working(world, engine, capacity=100)

    async def change(_):
        if len(world.backend.sent) == 500:
            await world.writer.run(lambda ledger: ledger.campaigns.set_backend(campaign.id, "other"))

    world.backend.after_mark = change
    await run_until(made, finished(world, campaign))

    assert len(world.backend.sent) + len(other.sent) == 3000
    assert len(world.backend.sent) < 1500
    assert {row.backend for row in world.rows(campaign)} == {"main", "other"}


async def test_a_campaign_leaves_a_backend_that_rests(world: World):
    other = ScriptedBackend()
    world.backend.script = lambda _: BackendUnusable("main", "connection refused")
    campaign = world.campaign(5)
    made = working(world, world.engine({"main": world.backend, "other": other}))
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    await until(lambda: made.idle_until() is not None)

    world.ledger.campaigns.set_backend(campaign.id, "other")
    world.clock.ahead += 3.0  # the rest that its rows wait for
    made.wake()

    await until(finished(world, campaign))
    stop.set()
    await running
    assert len(other.sent) == 5


async def test_a_route_whose_backends_are_all_paused_waits_and_spends_nothing(world: World):
    """Neither attempts nor the time that rows may be tried for (I10)."""
    care = Care(routes={"both": ("main", "spare")})
    campaign = world.campaign(3, backend="both")
    desk = Desk()
    made = pump(world, desk, care=care)
    world.ledger.backends.pause("main", "by hand")
    await made.tick()
    assert desk.outstanding()  # the other one works
    desk.hints.clear()

    world.ledger.backends.pause("spare", "by hand")
    for _ in range(3):
        world.clock.ahead += 100
        await made.tick()

    assert desk.outstanding() == frozenset()
    assert {row.attempts for row in world.rows(campaign)} == {0}
    assert world.ledger.backends.paused() == {"main", "spare", "both"}
    world.ledger.backends.resume("spare")
    world.clock.ahead += 1
    await made.tick()
    assert desk.outstanding() == frozenset(world.ids(campaign, 3))
    blocked = world.ledger.campaigns.by_id(campaign.id)
    assert blocked.blocked_seconds == pytest.approx(201)


async def test_a_paused_backend_is_left_alone_until_it_is_resumed(world: World):
    world.ledger.backends.pause("main", "by hand")
    campaign = world.campaign(3)
    desk = Desk()
    made = pump(world, desk)
    await made.tick()
    world.clock.ahead += 100
    await made.tick()
    assert desk.hints == []

    world.ledger.backends.resume("main")
    world.clock.ahead += 1
    await made.tick()

    assert desk.outstanding() == frozenset(world.ids(campaign, 3))
    assert world.now(campaign).blocked_seconds >= 100


async def test_a_start_that_was_missed_waits_for_a_person(world: World):
    campaign = world.campaign(3, start_at=world.clock() + 60)
    desk = Desk()
    world.clock.ahead += 60 + 3601

    await pump(world, desk).tick()

    assert desk.hints == []
    assert (world.now(campaign).state, world.now(campaign).reason) == (CampaignState.PAUSED, MISSED)
    world.ledger.campaigns.resume(campaign.id)
    await pump(world, desk).tick()
    assert len(desk.outstanding()) == 3
