"""Engines in child processes: shares, deaths and replacements."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from mailer.backends.contract import BackendConfig
from mailer.backends.urls import parse
from mailer.delivery.orders import Reason
from mailer.delivery.processes import Processes
from mailer.delivery.runner import run_embedded
from mailer.delivery.station import StationConfig
from mailer.delivery.stop import Stop
from mailer.errors import ConfigError
from mailer.ledger.contract import Runner
from mailer.message import State
from tests.delivering import World


def config(connections: int) -> StationConfig:
    return StationConfig(
        "sqlite:///x", "me", {"main": BackendConfig("main", "memory:", connections=connections)}
    )


@pytest.mark.parametrize(("connections", "of"), [(10, 1), (10, 2), (10, 3), (3, 3), (7, 4)])
def test_the_shares_of_all_children_are_the_whole(connections, of):
    shares = [config(connections).share(number, of) for number in range(of)]

    each = [share.backends["main"].connections for share in shares]
    assert sum(each) == connections
    assert max(each) - min(each) <= 1
    assert len({share.worker for share in shares}) == of


async def test_there_are_no_more_children_than_connections(world: World):
    assert Processes(config(2), 8, world.writer).count == 2


async def test_a_wrong_setting_is_said_before_any_child_starts(world: World):
    campaign = world.campaign(1, runner=Runner.EMBEDDED)

    with pytest.raises(ConfigError, match="unknown backend 'smpt'"):
        await run_embedded(
            world.url,
            campaign.id,
            backends={"main": BackendConfig("main", "smpt://localhost")},
            processes=2,
            stop=Stop(),
        )


def children() -> list[int]:
    """Engines that are children of this process."""
    tasks = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in pids if b"mailer.delivery.child" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
async def test_a_child_that_dies_is_replaced_and_nobody_is_lost_or_gets_two(world: World, smtp_sink):
    sink = smtp_sink()
    campaign = world.campaign(2000, runner=Runner.EMBEDDED)
    backends = {"main": parse("main", sink.url, connections=4)}
    running = asyncio.create_task(
        run_embedded(world.url, campaign.id, backends=backends, processes=2, stop=Stop(), wait=30)
    )
    killed = set()
    for count in (200, 600):
        while sink.count() < count or not set(children()) - killed:
            await asyncio.sleep(0.01)
        victim = (set(children()) - killed).pop()
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)

    result = await running

    states, copies = world.states(campaign), Counter(sink.recipients())
    assert result.reason is Reason.FINISHED
    assert set(states) <= {State.ACCEPTED, State.UNKNOWN}
    assert sum(states.values()) == 2000
    assert set(copies.values()) == {1}
    assert states.get(State.UNKNOWN, 0) <= 2 * 2 * 2  # two deaths, two connections each
    assert children() == []
