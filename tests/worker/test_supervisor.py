"""``mailer worker``: who dies is replaced, who is told to stop stops, and nobody is left behind."""

import os
import signal
import time
from collections import Counter

import pytest

from mailer.cli.supervisor import Supervisor
from mailer.ledger.contract import CampaignState
from mailer.message import State
from tests.forked import command
from tests.servers import wait_until
from tests.working import children, leases_end, patient_supervisor, run, supervised, write_settings

ROWS = 300
SLOWLY = '"150/s"'


@pytest.fixture
def site(tmp_path, redis_server, smtp_sink):
    """``site("-W", ".:60", rate=…)`` writes the settings, over a sink with these options; returns it."""

    def make(*options, **settings):
        sink = smtp_sink(*options)
        write_settings(tmp_path, broker=redis_server.url, backend=sink.url, **settings)
        return sink

    return make


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def accepted(world, campaign):
    return world.states(campaign).get(State.ACCEPTED, 0)


def test_a_killed_worker_is_replaced_and_a_stopped_supervisor_leaves_nobody(tmp_path, site, world):
    sink = site(rate=SLOWLY, lease=60)
    campaign = world.campaign(ROWS)
    with supervised(tmp_path) as supervisor:
        wait_until(lambda: accepted(world, campaign) > 20, "20 accepted")
        first = children(supervisor)
        assert first.keys() == {"bulk-1", "transactional-1"}  # a process of its own for each
        os.kill(first["bulk-1"], signal.SIGKILL)
        wait_until(lambda: children(supervisor).get("bulk-1") not in (first["bulk-1"], None), "replaced")
        leases_end(tmp_path, world, first["bulk-1"])
        wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")
        second = children(supervisor)
        os.kill(supervisor.pid, signal.SIGTERM)
        wait_until(lambda: not supervisor.running, "supervisor ended")

    assert second["bulk-1"] != first["bulk-1"]
    assert second["transactional-1"] == first["transactional-1"]
    assert (
        "worker bulk-1 was ended by SIGKILL; started again in 1 s"
        in (tmp_path / "supervisor.log").read_text()
    )
    assert supervisor.code == 0
    assert not any(alive(pid) for pid in second.values())
    assert set(Counter(sink.recipients()).values()) == {1}
    assert sum(world.states(campaign).values()) == ROWS


def test_a_second_signal_abandons_what_is_on_the_wire(tmp_path, site, world):
    site("-W", ".:60")
    campaign = world.campaign(5)
    with supervised(tmp_path, "--queues", "bulk", work=patient_supervisor) as supervisor:
        wait_until(lambda: world.states(campaign).get(State.SENDING), "a body on the wire")
        began = time.monotonic()
        os.kill(supervisor.pid, signal.SIGINT)
        wait_until(lambda: "stopping" in (tmp_path / "supervisor.log").read_text(), "first signal taken")
        os.kill(supervisor.pid, signal.SIGINT)
        wait_until(lambda: not supervisor.running, "supervisor ended")

    assert time.monotonic() - began < 25  # one signal alone waits so long for the answer
    assert supervisor.code == 1
    world.ledger.slices.recover()
    assert world.states(campaign)[State.UNKNOWN] >= 1


def test_workers_end_when_their_supervisor_was_killed(tmp_path, site, world):
    site()
    campaign = world.campaign(5)
    with supervised(tmp_path, "--queues", "bulk") as supervisor:
        wait_until(lambda: world.now(campaign).state is CampaignState.FINISHED, "finished")
        workers = children(supervisor)
        supervisor.kill()
        wait_until(lambda: not any(alive(pid) for pid in workers.values()), "workers ended")

    assert "the supervisor has died, and this worker ends" in (tmp_path / "supervisor.log").read_text()


def test_wrong_settings_end_everything_at_once(tmp_path, site):
    site(rate='"fast"')
    done = run(tmp_path, command, "worker", "--queues", "bulk")

    assert done.returncode == 2
    assert "'fast' is not a rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_queue_that_there_is_not_is_refused(tmp_path, site):
    site()
    done = run(tmp_path, command, "worker", "--queues", "bulk,control")

    assert done.returncode == 2
    assert "no queue 'control'" in done.stderr


def test_a_command_that_always_dies_is_started_less_and_less_often(tmp_path, monkeypatch):
    monkeypatch.setattr("mailer.cli.supervisor.SHORTEST_REST", 0.2)
    log = tmp_path / "starts"
    supervisor = Supervisor({"w": ["sh", "-c", f"date +%s.%N >> {log}; exit 3"]})
    starts = []

    def look():
        starts[:] = [float(line) for line in log.read_text().split()] if log.exists() else []
        if len(starts) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor._wake_the_silent = look
    assert supervisor.run() == 0

    assert starts[1] - starts[0] >= 0.18
    assert starts[2] - starts[1] >= 0.38
