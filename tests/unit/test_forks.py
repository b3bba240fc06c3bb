"""What a fork waits for, and what the child finds."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mailer import forks
from tests.servers import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A fork that gives up waiting is not what is looked at here, however slow the machine is."""
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", PATIENCE)


def in_a_child(true):
    """Whether it is true in a forked child, where a hang is a failure."""
    if (child := os.fork()) == 0:
        try:
            os._exit(0 if true() else 1)
        except BaseException:  # noqa: BLE001 - nothing of pytest may run in it
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("gate", [forks.calls, forks.helpers, forks.transactions])
def test_a_fork_waits_for_who_is_inside_and_who_comes_waits_for_the_fork(gate):
    held_by_first, held_by_second = threading.Lock(), threading.Lock()
    entered, forked = threading.Event(), threading.Event()

    def first():
        with gate.inside(), gate.inside(), held_by_first:  # as often as it likes
            entered.set()
            wait_until(lambda: len(gate._changed._waiters) == 2, "the fork, and who comes")
            with gate.inside():
                pass

    def second():
        wait_until(lambda: gate._closed, "the fork")
        with gate.inside(), held_by_second:
            forked.wait()

    with ThreadPoolExecutor(2) as threads:
        both = threads.submit(first), threads.submit(second)
        entered.wait()
        free = in_a_child(
            lambda: not held_by_first.locked() and not held_by_second.locked() and _passes(gate)
        )
        forked.set()
        for each in both:
            each.result()

    assert free


def _passes(gate):
    with gate.inside():
        return not gate._closed


def test_a_fork_does_not_wait_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 0.05)
    entered, done = threading.Event(), threading.Event()

    def stay():
        with forks.calls.inside():
            entered.set()
            done.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()

    assert in_a_child(lambda: _passes(forks.calls) and not forks.calls._inside)
    assert "forked beside threads that were at work" in caplog.text
    done.set()
    thread.join()
    assert _passes(forks.calls)


def test_a_fork_by_who_is_inside_waits_for_nobody(monkeypatch, caplog):
    monkeypatch.setattr(forks, "PATIENCE_SECONDS", 5.0)
    with forks.transactions.inside():
        assert in_a_child(lambda: _passes(forks.transactions))
    assert "forked beside" not in caplog.text  # it would have waited in vain
    assert not forks.transactions.entered()


def test_a_loop_is_stopped_between_two_steps():
    lock, stepped, stop = threading.Lock(), threading.Event(), threading.Event()

    async def steps():
        stops = forks.LoopThread(asyncio.get_running_loop())
        while not stop.is_set():
            with lock:
                time.sleep(0.002)
                stepped.set()
            await asyncio.sleep(0)
        stops.end()
        return stops

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, steps())
        stepped.wait()
        free = [in_a_child(lambda: not lock.locked()) for _ in range(10)]
        stepped.clear()
        assert stepped.wait(60)  # it went on
        stop.set()
        ended = running.result()

    assert all(free)
    assert ended.halt(time.monotonic())  # and one that has ended is not waited for


def test_two_that_fork_at_the_same_time():
    with ThreadPoolExecutor(2) as threads:
        assert all(threads.map(lambda _: in_a_child(lambda: _passes(forks.calls)), range(8)))
