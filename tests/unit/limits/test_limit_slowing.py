import pytest

from mailer.delivery.limits import slowing
from mailer.delivery.limits.slowing import COOLDOWN_SECONDS, LEAST_PER_SECOND, gates, halved


def rate(memory, now):
    """Messages per second that a key may do; None at full speed."""
    found = gates(memory, now)
    if any(gate.name == "hold" for gate in found):
        return 0.0
    return found[0].per_second if found else None


def test_the_rate_is_halved_and_recovers_by_equal_steps():
    memory = halved(None, 0.0, 100.0, None)

    assert rate(memory, 0.0) == pytest.approx(50)
    assert rate(memory, 60.0) == pytest.approx(60)
    assert rate(memory, 120.0) == pytest.approx(70)
    assert rate(memory, 301.0) is None


def test_replies_to_what_was_under_way_do_not_halve_again():
    memory = halved(None, 0.0, 100.0, None)
    for at in (0.1, 1.0, COOLDOWN_SECONDS - 0.1):
        memory = halved(memory, at, 100.0, None)

    assert rate(memory, 0.0) == pytest.approx(50)


def test_a_later_reply_halves_what_was_left():
    memory = halved(None, 0.0, 100.0, None)
    memory = halved(memory, 60.0, 100.0, None)

    assert rate(memory, 60.0) == pytest.approx(30)


def test_after_recovery_it_starts_anew():
    memory = halved(None, 0.0, 100.0, None)
    memory = halved(memory, 1000.0, 40.0, None)

    assert rate(memory, 1000.0) == pytest.approx(20)


def test_nothing_goes_before_the_time_that_the_other_side_named():
    memory = halved(None, 0.0, 100.0, 120.0)

    assert rate(memory, 119.0) == 0.0
    assert gates(memory, 119.0)[0].wait(None, 119.0, 1) == pytest.approx(1.0)
    assert rate(memory, 121.0) == pytest.approx(50, rel=0.01)


def test_a_shorter_time_named_later_does_not_shorten_the_first():
    memory = halved(None, 0.0, 100.0, 120.0)
    memory = halved(memory, 1.0, 100.0, 5.0)

    assert rate(memory, 60.0) == 0.0


def test_however_often_it_is_asked_something_still_goes():
    memory = None
    for step in range(100):
        memory = halved(memory, step * COOLDOWN_SECONDS, 100.0, None)

    assert rate(memory, 99 * COOLDOWN_SECONDS) >= LEAST_PER_SECOND


def test_what_it_adds_to_a_key_has_the_names_it_says():
    memory = halved(None, 0.0, 100.0, 5.0)

    assert tuple(gate.name for gate in gates(memory, 1.0)) == slowing.NAMES
