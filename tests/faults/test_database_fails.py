"""PostgreSQL is restarted, frozen and cut off while workers send over it; and clocks are wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from mailer.cli import supervisor
from mailer.ledger import migrate
from mailer.message import State
from tests.faults.judging import WHOLE
from tests.faults.works import CONNECTIONS, Works, is_stopped
from tests.forked import celery
from tests.servers import need, postgres_server, wait_until
from tests.working import run, write_settings

ROWS = 600 if WHOLE else 400
WORKERS = 2


@pytest.fixture(scope="module")
def postgres():
    """A server of these tests' own: it is there to be broken."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def works(tmp_path, redis_server, smtp_sink, postgres):
    url = postgres.create("mailer")
    migrate(url)
    works = Works(tmp_path, redis_server.url, smtp_sink(), url, lease=4.0)
    yield works
    await works.close()
    postgres.drop("mailer")


def restart(postgres):
    """As an upgrade does: every connection is closed, transactions under way are rolled back."""
    postgres.restart()


@contextmanager
def frozen(postgres):
    """All of its processes."""
    postgres.process.pause()  # first: after that it starts no more
    command = ["pgrep", "-P", str(postgres.process.pid)]
    children = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for process in map(int, children):
        with suppress(ProcessLookupError):  # its client has just gone
            os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in map(int, children):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        postgres.process.go_on()


def freeze(postgres):
    """For shorter than a lease: everybody waits, nobody loses a row."""
    with frozen(postgres):
        time.sleep(1.5)


def cut(postgres):
    with psycopg.connect(postgres.url(user="postgres"), autocommit=True) as admin:
        for _ in range(4):
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mailer'")
            time.sleep(0.3)


def crowd(postgres):
    """Nobody else gets a connection, and those that are open are closed."""
    with psycopg.connect(postgres.url(user="postgres"), autocommit=True) as admin:
        admin.execute("ALTER DATABASE mailer CONNECTION LIMIT 0")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mailer'")
        time.sleep(2)
        admin.execute("ALTER DATABASE mailer CONNECTION LIMIT -1")


#: What is done, and how often a connection is lost with commits under way on it.
BREAKS = {
    "PostgreSQL restarted": (restart, 1),
    "PostgreSQL frozen for 1.5 s": (freeze, 0),
    "every connection to PostgreSQL cut, four times": (cut, 4),
    "no connection to PostgreSQL to be had for 2 s": (crowd, 1),
}


@pytest.mark.parametrize("injected", BREAKS)
async def test_f29_the_database_goes_away_and_comes_back(works, postgres, judge, injected):
    """A mark whose commit nobody confirmed was not sent, and may be in doubt all the same."""
    break_it, lost = BREAKS[injected]
    campaign = works.world.campaign(ROWS)
    works.start(WORKERS)
    works.wait_for_some(campaign, 100)
    break_it(postgres)
    moved = works.moves_after(campaign)
    works.wait_for_end(campaign)

    judge(
        "F29",
        injected,
        works.settled(campaign),
        works.copies(),
        rows=ROWS,
        window=lost * WORKERS * CONNECTIONS,
        moves_after=moved,
    )


@contextmanager
def stopped(postgres):
    """Nobody listens there."""
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


def hurried(*arguments):
    """A Celery worker that has two seconds instead of 24."""
    from tasks import app

    app.STOP_SECONDS, app.END_SECONDS = 1.5, 0.5
    celery(*arguments)


@pytest.mark.parametrize("away", [stopped, frozen])
async def test_f5_sigterm_while_the_database_is_away(works, postgres, judge, away):
    """Nothing can be settled or given back, and the worker ends by itself all the same. In doubt are, of each
    connection, what was accepted last and what was marked after it."""
    rows = 150
    campaign = works.world.campaign(rows)
    (first,) = works.start(work=hurried)
    works.wait_for_some(campaign, 20)
    with away(postgres):
        first.signal(signal.SIGTERM)
        ended = first.wait()
    works.start()
    works.wait_for_end(campaign)

    assert ended >= 0, "killed by a signal"
    what = f"SIGTERM while PostgreSQL is {away.__name__}"
    judge("F5", what, works.settled(campaign), works.copies(), rows=rows, window=2 * CONNECTIONS)


def patience():
    from tasks import app

    print(app.STOP_SECONDS + app.END_SECONDS)


def test_a_worker_ends_before_its_supervisor_loses_patience_and_both_within_half_a_minute(tmp_path):
    write_settings(tmp_path, broker="redis://127.0.0.1:1/0", backend="memory:")

    assert float(run(tmp_path, patience).stdout) < supervisor.STOP_SECONDS < 30


async def test_f8_a_worker_sleeps_between_its_mark_and_the_dot(works, judge):
    """Its row is in doubt, nobody else sends it, and the sleeper's own answer still counts."""
    campaign = works.world.campaign(ROWS)
    sleeper = works.start_under("sleeper", MAILER_CRASH_AT="after_mark:20:stop")
    wait_until(lambda: is_stopped(sleeper.pid), "asleep")
    works.start()
    wait_until(lambda: works.states(campaign).get(State.UNKNOWN, 0), "in doubt")
    doubtful = works.states(campaign)[State.UNKNOWN]
    sleeper.go_on()
    works.wait_for_end(campaign)
    wait_until(lambda: works.states(campaign).get(State.ACCEPTED, 0) == ROWS, "its answer counted")

    assert 1 <= doubtful <= CONNECTIONS
    judge(
        "F8",
        "a worker stopped between mark and final dot",
        works.settled(campaign),
        works.copies(),
        rows=ROWS,
    )


async def test_f16_two_of_three_workers_have_a_wrong_clock(works, judge):
    """Leases compare the database's clock with itself, so an hour on one machine changes nothing."""
    need("faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    campaign = works.world.campaign(ROWS)
    works.start()
    for name, off in (("ahead", "+1h"), ("behind", "-1h")):
        faked = {"LD_PRELOAD": str(library), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        works.start_under(name, **faked)
    works.wait_for_end(campaign)

    judge("F16", "two of three workers an hour off", works.settled(campaign), works.copies(), rows=ROWS)
