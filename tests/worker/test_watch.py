"""When a worker counts as stalled: hints wait, it has nothing to do, and it fetches none."""

from tasks.watch import Patience


def looks(*seen):
    patience = Patience(30.0)
    return [
        patience.exhausted(now=now, taken=taken, busy=busy, waiting=waiting)
        for now, taken, busy, waiting in seen
    ]


def test_a_consumer_that_fetches_nothing_is_stalled_after_its_time():
    assert looks((0, 5, False, 3), (29, 5, False, 3), (30, 5, False, 3)) == [False, False, True]


def test_whoever_fetches_works_or_has_nothing_to_fetch_is_not():
    assert not any(looks((0, 5, False, 3), (29, 6, False, 3), (58, 6, False, 3)))
    assert not any(looks((0, 5, False, 3), (20, 5, True, 3), (49, 5, False, 3)))
    assert not any(looks((0, 5, False, 3), (20, 5, False, 0), (49, 5, False, 3)))
