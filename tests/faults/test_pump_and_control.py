"""The pump dies, the ledger is an old one, a campaign is paused or cancelled in mid-flight."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time

import pytest

from mailer.campaigns import control
from mailer.ledger.contract import CampaignState
from mailer.message import State
from tests.faults.judging import WHOLE
from tests.faults.works import CONNECTIONS, Works
from tests.servers import wait_until

ROWS = 600 if WHOLE else 400
#: Nobody waits for the end of these: they go on for many seconds, however late somebody acts.
LONG = 4000


@pytest.fixture
async def works(tmp_path, redis_server, smtp_sink):
    works = Works(tmp_path, redis_server.url, smtp_sink())
    yield works
    await works.close()


def leader(works):
    """The name of the worker whose pump leads; None between two."""
    with contextlib.closing(sqlite3.connect(works.folder / "mailer.db")) as ledger:
        found = ledger.execute("SELECT worker FROM leader WHERE until > ?", (time.time(),)).fetchone()
    return found and found[0].partition("@")[0]


async def test_f32_the_leading_pump_is_killed(works, judge):
    """Two pumps run, one acts; the other takes over by itself."""
    campaign = works.world.campaign(ROWS)
    crew = {worker.name: worker for worker in works.start(2)}
    works.wait_for_some(campaign)
    leaders = []
    wait_until(lambda: leaders.append(leader(works)) or leaders[-1], "a pump leads")
    first = leaders[-1]
    crew[first].kill()
    wait_until(lambda: leader(works) not in {None, first}, "another pump leads")
    moved = works.moves_after(campaign)
    works.wait_for_end(campaign)

    judge(
        "F32",
        "the leading pump killed",
        works.settled(campaign),
        works.copies(),
        rows=ROWS,
        window=CONNECTIONS,
        moves_after=moved,
    )


async def test_f31_the_ledger_is_put_back_to_an_older_one(works, judge):
    """What the copy calls pending may have been sent: nothing goes out before a person says so."""
    campaign = works.world.campaign(LONG)
    (worker,) = works.start()
    works.wait_for_some(campaign, 50)
    backup = works.folder / "backup.db"
    with contextlib.closing(sqlite3.connect(works.folder / "mailer.db")) as ledger:
        ledger.execute("VACUUM INTO ?", (str(backup),))
    born = works.world.ledger.schedule.epoch()
    works.wait_for_some(campaign, works.states(campaign)[State.ACCEPTED] + 1)
    wait_until(lambda: works.world.ledger.schedule.epoch() > born, "a second has passed")
    assert worker.stop() == 0
    await works.world.close()
    arrived = works.sink.hear_out().count()
    for name in ("mailer.db-wal", "mailer.db-shm"):
        (works.folder / name).unlink(missing_ok=True)
    shutil.copy(backup, works.folder / "mailer.db")
    works.reopen()

    works.start()
    wait_until(lambda: "restored from a backup" in works.log(), "the worker says so")

    assert works.sink.count() == arrived
    assert works.states(campaign).get(State.ACCEPTED, 0) < arrived
    assert works.world.now(campaign).state is CampaignState.PAUSED
    judge(
        "F31",
        "an older ledger put in place: nothing is sent",
        {State.ACCEPTED: arrived},
        works.copies(),
        rows=arrived,
    )


@pytest.mark.parametrize(
    ("act", "after"), [("pause", CampaignState.PAUSED), ("cancel", CampaignState.CANCELLED)]
)
async def test_f34_paused_or_cancelled_in_mid_flight(works, judge, act, after):
    """Only what was on the wire when the command returned still arrives."""
    campaign = works.world.campaign(LONG)
    works.start(2)
    works.wait_for_some(campaign, 100)
    said = getattr(control, act)(works.world.ledger, works.world.now(campaign))
    states = works.states(campaign)
    most = sum(states.get(state, 0) for state in (State.ACCEPTED, State.SENDING, State.UNKNOWN))
    assert said.in_flight <= CONNECTIONS
    wait_until(lambda: not _held(works, campaign), "nothing in flight")

    done = works.settled(campaign)
    assert works.world.now(campaign).state is after
    assert done[State.ACCEPTED] <= most
    judge(
        "F34",
        f"{act} with messages in flight",
        {State.ACCEPTED: done[State.ACCEPTED]},
        works.copies(),
        rows=done[State.ACCEPTED],
    )


def _held(works, campaign):
    states = works.states(campaign)
    return states.get(State.SENDING, 0) + states.get(State.CLAIMED, 0)
