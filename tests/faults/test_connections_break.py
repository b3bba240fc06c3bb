"""The connection to the mail server breaks, at each phase, again and again, until the campaign is done."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mailer.backends.urls import parse
from mailer.delivery.runner import Reason, run_embedded
from mailer.ledger.contract import Runner
from mailer.message import State
from tests.delivering import World
from tests.servers import PATIENCE

ROWS = 120
CONNECTIONS = 3
#: Each after so many more of what is seen: together fewer than a session is opened, at seven messages each.
BREAKS = (1, 6, 4, 2)
#: Tried again within a second: what is looked at here is not patience.
SOON = {"ceilings": [0.5], "floor_seconds": 0.1}

#: What is seen, in which direction, before (or after) it passes, and how many are in doubt. Commands of a
#: session's later messages ride behind the body of the one before, whose answer is lost with the connection.
PHASES = {
    "before the greeting": ("down", b"220 ", False, 0),
    "after EHLO": ("up", b"EHLO", True, 0),
    "before MAIL": ("up", b"MAIL FROM", False, 1),
    "after MAIL": ("up", b"MAIL FROM", True, 1),
    "after RCPT": ("up", b"RCPT TO", True, 1),
    "after DATA": ("up", b"DATA\r\n", True, 1),
    "in the body": ("up", b"this is row", False, 1),
    "before the final dot": ("up", b"\r\n.\r\n", False, 1),
    "after the final dot": ("up", b"\r\n.\r\n", True, 1),
    "before the reply to it": ("down", b"250 2.0.0 Ok\r\n", False, 1),
}


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


@pytest.mark.parametrize("phase", PHASES)
async def test_f20_a_connection_breaks(world, smtp_sink, tcp_proxy, judge, phase):
    direction, pattern, let_pass, doubt = PHASES[phase]
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port)
    campaign = world.campaign(ROWS, runner=Runner.EMBEDDED, retry=SOON)
    backend = parse("main", proxy.url + "&max_messages=7", connections=CONNECTIONS)
    line = getattr(proxy, direction)
    line.matches, *line.then = BREAKS
    line.let_pass, line.cut_at = let_pass, pattern

    done = await asyncio.wait_for(run_embedded(world.url, campaign.id, backends={"main": backend}), PATIENCE)

    assert done.reason is Reason.FINISHED
    assert line.cuts == len(BREAKS)
    judge(
        "F20",
        f"connection broken {phase}, {line.cuts} times",
        world.states(campaign),
        Counter(sink.recipients()),
        rows=ROWS,
        window=doubt * line.cuts,
    )


async def test_f23_a_server_takes_the_connection_and_says_nothing(world, smtp_sink, judge):
    """SIGSTOP: the kernel still accepts. Every phase has its own patience, and the rows wait."""
    sink = smtp_sink()
    campaign = world.campaign(ROWS, runner=Runner.EMBEDDED, retry=SOON, rates=["150/s"])
    impatient = (
        "&timeout_greeting=300ms&timeout_mail=300ms&timeout_rcpt=300ms&timeout_data=300ms&timeout_dot=30s"
    )
    backend = parse("main", sink.url + impatient, connections=CONNECTIONS)
    running = asyncio.create_task(run_embedded(world.url, campaign.id, backends={"main": backend}))
    while world.states(campaign).get(State.ACCEPTED, 0) < 20:
        await asyncio.sleep(0.01)
    sink.process.pause()
    await asyncio.sleep(1.0)
    sink.process.go_on()
    arrived, clock = sink.count(), asyncio.get_running_loop().time
    began = clock()
    while sink.count() <= arrived and not running.done():
        await asyncio.sleep(0.01)
    moved = clock() - began
    done = await asyncio.wait_for(running, PATIENCE)

    assert done.reason is Reason.FINISHED
    judge(
        "F23",
        "the mail server hangs for a second",
        world.states(campaign),
        Counter(sink.recipients()),
        rows=ROWS,
        moves_after=moved,
    )
