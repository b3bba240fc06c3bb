"""Threads that write together: nobody waits for a write that he has no part in."""

import threading
import time

import pytest

from mailer.ledger import together
from mailer.ledger.together import Together

SECONDS = 60.0


class Writes:
    """Each write waits until it is let go."""

    def __init__(self):
        self.seen: list[list[str]] = []
        self.free = [threading.Event() for _ in range(3)]
        self.together = Together(self.write)

    def write(self, asks):
        self.seen.append(list(asks))
        assert self.free[len(self.seen) - 1].wait(SECONDS)

    def start(self, *asks):
        thread = threading.Thread(target=self.together.put, args=(asks,), daemon=True)
        thread.start()
        return thread

    def until(self, true):
        give_up = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < give_up
            time.sleep(0.001)


@pytest.fixture
def writes():
    made = Writes()
    yield made
    for event in made.free:
        event.set()


def test_who_comes_during_a_write_shares_the_next_one(writes):
    first = writes.start("a")
    writes.until(lambda: writes.seen)
    others = [writes.start("b", "c"), writes.start("d"), writes.start("e")]
    writes.until(lambda: len(writes.together._calls) == 3)

    writes.free[0].set()
    first.join(SECONDS)  # while the next write still goes on
    writes.until(lambda: len(writes.seen) == 2)
    assert not first.is_alive()
    assert sorted(writes.seen[1]) == ["b", "c", "d", "e"]

    writes.free[1].set()
    for thread in others:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_who_is_interrupted_does_not_stand_in_the_way(writes, monkeypatch):
    """Ctrl-C in the thread that is next to write."""
    first = writes.start("a")
    writes.until(lambda: writes.seen)

    class Interrupted:
        """A lock whose second acquire, the one that waits, is broken off."""

        def __init__(self):
            self.times = 0

        def acquire(self):
            self.times += 1
            if self.times == 2:
                raise KeyboardInterrupt

        def release(self):
            pass

    made = together._Call(("b",))
    made.waits = Interrupted()
    monkeypatch.setattr(together, "_Call", lambda asks: made)
    with pytest.raises(KeyboardInterrupt):
        writes.together.put(("b",))
    monkeypatch.undo()

    last = writes.start("c")
    for event in writes.free:
        event.set()
    for thread in (first, last):
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert writes.seen == [["a"], ["c"]]
