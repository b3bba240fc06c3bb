"""A ledger that is a file: no room for it, somebody who reads for long, the same list put in twice."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mailer.ledger.contract import NewCampaign, NewRow, Runner
from tests.delivering import World
from tests.faults import embedded_run
from tests.forked import Forked

ROWS = 400
CONNECTIONS = 2


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


def with_little_room(room, ledger, campaign, url):
    """A limit on the size of files stands for the disk's."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), resource.RLIM_INFINITY))
    embedded_run.main(ledger, campaign, url)


def run(world, campaign, url, work=embedded_run.main, *first):
    """The campaign in a process of its own; its exit status, and what it said."""
    folder = Path(world.ledger.database.path).parent
    log = folder / "run.log"
    arguments = (*first, world.url, str(campaign.id), url)
    process = Forked(work, *arguments, folder=folder, environment=os.environ, out=log, err=log)
    return process.wait(), log.read_text()


async def test_f30_the_disk_is_full(world, smtp_sink, judge):
    """Nothing is sent that could not be written down; with room again it goes on."""
    sink = smtp_sink()
    campaign = world.campaign(ROWS, runner=Runner.EMBEDDED, recipients_per_task=20)
    path = Path(world.ledger.database.path)
    size = max(one.stat().st_size for one in path.parent.glob("mailer.db*"))

    code, said = run(world, campaign, sink.url, with_little_room, str(size + 300_000))
    arrived = sink.hear_out().count()
    assert code != 0, said
    assert arrived < ROWS
    code, said = run(world, campaign, sink.url)

    assert code == 0, said
    judge(
        "F30",
        "no room on the disk for the ledger",
        world.states(campaign),
        Counter(sink.hear_out().recipients()),
        rows=ROWS,
        window=2 * CONNECTIONS,
    )


async def test_f30_somebody_reads_all_the_time(world, smtp_sink, judge):
    """Its log cannot be taken over into the file meanwhile."""
    sink = smtp_sink()
    campaign = world.campaign(ROWS, runner=Runner.EMBEDDED)
    with closing(sqlite3.connect(world.ledger.database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        seen = reader.execute("SELECT count(*) FROM message WHERE state = 'pending'").fetchone()
        code, said = run(world, campaign, sink.url)
        assert reader.execute("SELECT count(*) FROM message WHERE state = 'pending'").fetchone() == seen

    assert code == 0, said
    copies = Counter(sink.recipients())
    judge("F30", "a reader of the ledger from beginning to end", world.states(campaign), copies, rows=ROWS)


async def test_f33_the_same_list_is_put_in_twice_at_once(world, smtp_sink, judge):
    sink = smtp_sink()
    about = world.campaign(1, runner=Runner.EMBEDDED).spec
    rows = [
        NewRow(
            n,
            n + 1,
            f"reader-{n}@lane-0.example",
            "lane-0",
            f'{{"email": "reader-{n}@lane-0.example", "n": {n}}}',
        )
        for n in range(1, ROWS + 1)
    ]

    def put_in(_):
        new = NewCampaign("twice", "twice", "twice", about, Runner.EMBEDDED, "bulk", "main")
        found = world.ledger.campaigns.create(new)
        return found.id, world.ledger.campaigns.add_rows(found.id, rows)

    with ThreadPoolExecutor() as together:
        (one, first), (two, second) = together.map(put_in, range(2))
    campaign = world.ledger.campaigns.opened(one, 0)
    code, said = run(world, campaign, sink.url)

    assert (one, first + second, campaign.total) == (two, ROWS, ROWS)
    assert code == 0, said
    copies = Counter(sink.recipients())
    judge("F33", "the same list put in twice at once", world.states(campaign), copies, rows=ROWS)
