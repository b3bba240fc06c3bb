"""Campaigns through real Celery workers: processes of their own, a real Redis, a real SMTP server.

What arrived is counted at the SMTP server, which knows nothing of our ledger.
"""

import fcntl
import os
import random
import signal
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis

from mailer.ledger.contract import CampaignState
from mailer.message import State
from mailer.publisher import Publisher
from tests.delivering import World
from tests.forked import celery
from tests.servers import free_port, wait_until
from tests.working import impatient_for_a_broker, leases_end, run, worker, write_settings

ROWS = 200
#: With faults, fewer and slower, so that something is left to do when the fault comes.
FEW = 400
SLOWLY = '"200/s"'
#: Slices at once, times connections: more cannot be on the wire.
CONNECTIONS = 10


class Site:
    """A folder with mailer.toml, a ledger, a broker and an SMTP server; workers are started in it."""

    def __init__(self, folder, redis, sink):
        self.folder = folder
        self.redis = redis
        self.sink = sink
        self.world = World(folder)
        self.workers = []
        self.write()

    def write(self, **settings):
        write_settings(self.folder, broker=self.redis.url, backend=self.sink.url, **settings)

    @contextmanager
    def worker(self, name="w1", *more):
        with worker(self.folder, name, *more) as process:
            self.workers.append(process)
            yield process

    def log(self, name="w1"):
        return (self.folder / f"{name}.log").read_text()

    def states(self, campaign):
        return self.world.states(campaign)

    def wait_for_end(self, campaign):
        def finished():
            if not any(worker.running for worker in self.workers):
                raise RuntimeError("no worker runs any more")
            return self.world.now(campaign).state is CampaignState.FINISHED

        try:
            wait_until(finished, "campaign finished")
        except (RuntimeError, TimeoutError) as error:
            logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
            raise AssertionError(f"{error}: {self.states(campaign)}\n{logs}") from None

    def wait_for_some(self, campaign, count=50):
        wait_until(lambda: self.states(campaign).get(State.ACCEPTED, 0) >= count, f"{count} accepted")

    def copies(self):
        """How many copies of each recipient's mail the SMTP server took."""
        return Counter(self.sink.recipients())


@pytest.fixture
async def site(tmp_path, redis_server, smtp_sink):
    site = Site(tmp_path, redis_server, smtp_sink())
    yield site
    await site.world.close()


def expected(campaign_rows=ROWS):
    return {f"person-{n}@lane-0.example": 1 for n in range(1, campaign_rows + 1)}


@pytest.mark.parametrize("recipients_per_task", [1, 200])
def test_a_campaign_through_a_worker_reaches_everybody_once(site, recipients_per_task):
    campaign = site.world.campaign(ROWS, recipients_per_task=recipients_per_task)
    with site.worker():
        site.wait_for_end(campaign)

    assert site.states(campaign) == {State.ACCEPTED: ROWS}
    assert site.copies() == expected()


def test_hints_that_come_many_times_in_any_order_change_nothing(site):
    campaign = site.world.campaign(ROWS)
    ids = site.world.ids(campaign, ROWS)
    slices = [ids[start : start + size] for size in (1, 7, 50, 200) for start in range(0, ROWS, size)] * 2
    random.Random(7).shuffle(slices)
    publisher = Publisher(site.redis.url)
    for slice_ in slices[:400]:
        publisher.publish(slice_)
    publisher.close()
    with site.worker("w1"), site.worker("w2"):
        site.wait_for_end(campaign)

    assert site.states(campaign) == {State.ACCEPTED: ROWS}
    assert site.copies() == expected()


def test_when_redis_forgets_everything_the_campaign_finishes_by_itself(site):
    site.write(rate=SLOWLY)
    campaign = site.world.campaign(FEW)
    with site.worker():
        site.wait_for_some(campaign, 50)
        with Redis(port=site.redis.port) as redis:
            redis.flushall()
        site.wait_for_some(campaign, 150)
        site.redis.restart()  # and it has no file to remember anything by
        site.wait_for_end(campaign)

    assert site.copies() == expected(FEW)


def test_after_kill_9_another_worker_goes_on_and_sends_nothing_twice(site):
    site.write(rate=SLOWLY, lease=60)
    campaign = site.world.campaign(FEW)
    with site.worker("w1") as first, site.worker("w2"):
        site.wait_for_some(campaign)
        first.kill()
        leases_end(site.folder, site.world, first.pid)
        site.wait_for_end(campaign)

    states = site.states(campaign)
    assert states[State.ACCEPTED] + states.get(State.UNKNOWN, 0) == FEW
    # A connection may have one message on the wire while the answer to the one before is not durable yet.
    assert states.get(State.UNKNOWN, 0) <= 2 * CONNECTIONS
    assert set(site.copies().values()) == {1}


def test_a_worker_that_was_stopped_longer_than_its_lease_sends_nothing_twice(site):
    site.write(rate=SLOWLY, lease=60)
    campaign = site.world.campaign(FEW)
    with site.worker("w1") as first:
        with site.worker("w2"):
            site.wait_for_some(campaign)
            pause_between_writes(site, first)
            leases_end(site.folder, site.world, first.pid)
            site.wait_for_end(campaign)
            first.go_on()
        # It still has something on its mind. What it is told now it does after that.
        another = site.world.campaign(1, address="somebody@else.example")
        site.wait_for_end(another)

    states = site.states(campaign)
    assert states[State.ACCEPTED] + states.get(State.UNKNOWN, 0) == FEW
    assert set(site.copies().values()) == {1}
    assert site.states(another) == {State.ACCEPTED: 1}


def pause_between_writes(site, worker):
    """A process that hangs while it writes holds SQLite's lock, and nobody can go on before it does."""
    while True:
        worker.pause()
        with Path(site.folder, "mailer.db-lock").open() as file, suppress(TimeoutError):
            wait_until(lambda: _locked(file), "lock", 1.0)
            return
        worker.go_on()
        time.sleep(random.random() / 10)


def _locked(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_sigterm_finishes_what_is_on_the_wire_and_gives_back_the_rest(site):
    site.write(rate=SLOWLY)
    campaign = site.world.campaign(FEW)
    with site.worker("w1") as first:
        site.wait_for_some(campaign)
        os.kill(first.pid, signal.SIGTERM)
        wait_until(lambda: not first.running, "worker ended")

    states = site.states(campaign)
    assert states.keys() <= {State.ACCEPTED, State.PENDING, State.DEFERRED}
    assert site.copies().total() == states[State.ACCEPTED]

    with site.worker("w2"):
        site.wait_for_end(campaign)
    assert site.copies() == expected(FEW)


def test_an_enqueued_campaign_starts_when_redis_comes_back(site):
    campaign = site.world.campaign(50)
    site.redis.process.kill()
    with site.worker():
        wait_until(lambda: "Cannot connect to redis" in site.log(), "it has looked for Redis")
        site.redis.start()
        site.wait_for_end(campaign)

    assert site.copies() == expected(50)


def test_another_pool_is_refused_with_the_reason(site):
    done = started(site.folder, "--pool", "solo")

    assert done.returncode == 2
    assert "leave --pool out" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_queue_that_nobody_fills_is_refused(site):
    done = started(site.folder, "--queues", "bulk,celery")

    assert done.returncode != 0
    assert "celery" in done.stderr


def test_a_wrong_setting_is_said_and_nothing_starts(site):
    site.write(rate='"fast"')
    done = started(site.folder)

    assert done.returncode == 2
    assert "backends.main.rate: 'fast' is not a rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_broker_a_worker_says_what_to_set(tmp_path):
    (tmp_path / "mailer.toml").write_text('ledger = "sqlite:///mailer.db"\n')
    done = started(tmp_path)

    assert done.returncode == 2
    assert "MAILER_BROKER_URL" in done.stderr
    assert "Traceback" not in done.stderr


def started(folder, *more):
    """A worker that ends by itself."""
    return run(folder, celery, "-A", "tasks.app", "worker", *more)


def test_a_broker_that_is_away_is_tried_twice_a_second_however_long_it_lasts(tmp_path):
    """Celery's own waits grow to half a minute, and mail waits with them when the broker is back."""
    write_settings(tmp_path, broker=f"redis://127.0.0.1:{free_port()}", backend="console:")
    done = run(tmp_path, impatient_for_a_broker)

    assert done.stdout == f"{[0.5] * 8}\n", done.stderr
