"""``kill -9`` at random moments, until the campaign is done: counted at the other side."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from mailer.ledger.contract import CampaignState, Runner
from mailer.message import State
from tests.delivering import World

ROWS = 3000
KILLS = 20
CONNECTIONS = 4


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_killed_again_and_again_nothing_is_lost_and_nothing_sent_twice(world, smtp_sink, processes):
    sink = smtp_sink()
    campaign = world.campaign(ROWS, runner=Runner.EMBEDDED)
    chance = random.Random(1)
    kills = 0

    while world.now(campaign).state is not CampaignState.FINISHED:
        more = ROWS if kills >= KILLS else sink.count() + chance.randrange(ROWS // (2 * KILLS))
        kills += killed(world, campaign, sink, more, processes)

    states, copies = world.states(campaign), Counter(sink.recipients())
    assert kills >= KILLS
    assert set(states) <= {State.ACCEPTED, State.UNKNOWN}
    assert sum(states.values()) == ROWS
    assert set(copies.values()) == {1}
    assert states[State.ACCEPTED] <= len(copies) <= ROWS
    assert states.get(State.UNKNOWN, 0) <= kills * 2 * CONNECTIONS


def killed(world, campaign, sink, count, processes) -> bool:
    """Run the campaign until the sink has ``count`` messages, then kill. False: it ended by itself."""
    command = [sys.executable, "-m", "tests.faults.embedded_run", world.url, str(campaign.id), sink.url]
    run = subprocess.Popen([*command, str(CONNECTIONS), str(processes)])
    while run.poll() is None:
        if sink.count() > count:
            os.kill(run.pid, signal.SIGKILL)
            break
        time.sleep(0.001)
    return run.wait() == -signal.SIGKILL
