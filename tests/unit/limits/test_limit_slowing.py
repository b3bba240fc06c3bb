import pytest

from mailer.delivery.limits import slowing
from mailer.delivery.limits.slowing import (
    COOLDOWN_SECONDS,
    JOIN_SECONDS,
    LEAST_PER_SECOND,
    UNSEEN_PER_SECOND,
    Part,
    gates,
    halved,
    joined,
)

ALONE = Part("one", 100.0)


def rate(memory, now):
    """Messages per second that a key may do; None at full speed."""
    found = gates(memory, now)
    if any(gate.name == "hold" for gate in found):
        return 0.0
    return found[0].per_second if found else None


def test_the_rate_is_halved_and_recovers_by_equal_steps():
    memory = halved(None, 0.0, ALONE, None)

    assert rate(memory, 0.0) == pytest.approx(50)
    assert rate(memory, 60.0) == pytest.approx(60)
    assert rate(memory, 120.0) == pytest.approx(70)
    assert rate(memory, 301.0) is None


def test_replies_to_what_was_under_way_do_not_halve_again():
    memory = halved(None, 0.0, ALONE, None)
    for at in (0.1, 1.0, COOLDOWN_SECONDS - 0.1):
        memory = halved(memory, at, ALONE, None)

    assert rate(memory, 0.0) == pytest.approx(50)


def test_a_later_reply_halves_what_was_left():
    memory = halved(None, 0.0, ALONE, None)
    memory = halved(memory, 60.0, ALONE, None)

    assert rate(memory, 60.0) == pytest.approx(30)


def test_after_recovery_it_starts_anew():
    memory = halved(None, 0.0, ALONE, None)
    memory = halved(memory, 1000.0, Part("one", 40.0), None)

    assert rate(memory, 1000.0) == pytest.approx(20)


def test_nothing_goes_before_the_time_that_the_other_side_named():
    memory = halved(None, 0.0, ALONE, 120.0)

    assert rate(memory, 119.0) == 0.0
    assert gates(memory, 119.0)[0].wait(None, 119.0, 1) == pytest.approx(1.0)
    assert rate(memory, 121.0) == pytest.approx(50, rel=0.01)


def test_a_shorter_time_named_later_does_not_shorten_the_first():
    memory = halved(None, 0.0, ALONE, 120.0)
    memory = halved(memory, 1.0, ALONE, 5.0)

    assert rate(memory, 60.0) == 0.0


def test_however_often_it_is_asked_something_still_goes():
    memory = None
    for step in range(100):
        memory = halved(memory, step * COOLDOWN_SECONDS, ALONE, None)

    assert rate(memory, 99 * COOLDOWN_SECONDS) >= LEAST_PER_SECOND


def test_what_the_other_processes_did_is_halved_with_it_once():
    memory = halved(None, 0.0, ALONE, None)
    memory = joined(memory, 1.0, Part("two", 60.0))
    memory = joined(memory, 2.0, Part("two", 30.0))
    memory = halved(memory, 3.0, Part("three", 40.0), None)  # it was asked, too, before it had heard
    memory = joined(memory, 4.0, Part("four", 0.0))
    memory = joined(memory, 5.0, ALONE)

    assert rate(memory, 5.0) == pytest.approx(100, rel=0.02)


def test_who_hears_of_it_late_adds_nothing():
    memory = halved(None, 0.0, ALONE, None)

    assert joined(memory, JOIN_SECONDS, Part("two", 100.0)) is memory
    assert joined(None, 0.0, Part("two", 100.0)) is None
    older = {"full": 100.0, "factor": 0.5, "at": 0.0, "until": 0.0}  # of a version that knew one process
    assert joined(older, 1.0, Part("two", 100.0)) is older


@pytest.mark.parametrize(
    ("flows", "own", "half"),
    [((30.0, 30.0), 100.0, 30.0), ((80.0, 80.0), 100.0, 50.0), ((0.0,), 100.0, 50.0), ((0.0,), 0.0, None)],
)
def test_never_more_than_half_of_its_own_rate(flows, own, half):
    memory = halved(None, 0.0, Part("1", flows[0], own), None)
    for number, flow in enumerate(flows[1:], 2):
        memory = joined(memory, 0.0, Part(str(number), flow, own))

    assert rate(memory, 0.0) == pytest.approx(half or UNSEEN_PER_SECOND / 2)


def test_what_it_adds_to_a_key_has_the_names_it_says():
    memory = halved(None, 0.0, ALONE, 5.0)

    assert tuple(gate.name for gate in gates(memory, 1.0)) == slowing.NAMES
