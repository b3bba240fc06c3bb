"""A process dies at each named point: what it leaves, and that nothing is lost or sent twice afterwards."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from mailer.crash import POINTS
from mailer.ledger.contract import Campaign, Runner
from mailer.message import State
from tests.delivering import World
from tests.faults import embedded_run
from tests.forked import Forked

#: Provably unsent: sent again without asking.
UNSENT = ((State.PENDING, 0),)
#: What a single row is after recovery, and how many copies had left: each point with all it may leave.
LEAVES = dict.fromkeys(POINTS, UNSENT) | {
    # Marked, and nobody can know any more. It had not left.
    "after_mark": ((State.UNKNOWN, 0),),
    "before_dot": ((State.UNKNOWN, 0),),
    # The system's buffers outlive the process, so what was written arrives; the answer has no reader.
    "after_dot": ((State.UNKNOWN, 1),),
    "after_reply": ((State.UNKNOWN, 1),),
    "before_settle": ((State.UNKNOWN, 1),),
    "after_settle": ((State.ACCEPTED, 1),),
}
#: Where a death among many messages is not the same as among one.
BUSY = ("after_claim", "after_envelope", "after_mark", "after_dot", "before_settle", "after_settle")


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


def run(world: World, campaign: Campaign, url: str, crash_at: str = "") -> int:
    """One run of the campaign in a process of its own; its exit status."""
    nowhere = Path(os.devnull)
    process = Forked(
        embedded_run.main,
        *(world.url, str(campaign.id), url),
        folder=Path.cwd(),
        environment=os.environ | {"MAILER_CRASH_AT": crash_at},
        out=nowhere,
        err=nowhere,
    )
    return process.wait()


def recover(world: World) -> None:
    """What the next owner does first; here before there is one, to see what it would find."""
    world.clock.ahead += 3600
    world.ledger.slices.recover()
    world.clock.ahead -= 3600


@pytest.mark.parametrize("point", POINTS)
async def test_each_point_leaves_its_state(world, smtp_sink, point):
    sink = smtp_sink()
    campaign = world.campaign(1, runner=Runner.EMBEDDED)

    assert run(world, campaign, sink.url, point) == 137

    recover(world)
    [(state, n)] = world.states(campaign).items()
    assert n == 1
    assert (state, sink.hear_out().count()) in LEAVES[point]


@pytest.mark.slow
@pytest.mark.parametrize("point", BUSY)
async def test_f3_afterwards_nothing_is_lost_and_nothing_sent_twice(world, smtp_sink, judge, point):
    sink = smtp_sink()
    campaign = world.campaign(60, runner=Runner.EMBEDDED, recipients_per_task=20)
    times = 2 if point == "after_claim" else 25

    assert run(world, campaign, sink.url, f"{point}:{times}") == 137
    assert run(world, campaign, sink.url) == 0

    judge(
        "F3",
        f"a process that dies {point.replace('_', ' ')}",
        world.states(campaign),
        Counter(sink.hear_out().recipients()),
        rows=60,
        window=2 * 2,  # two connections, each with one message and one answer
    )
