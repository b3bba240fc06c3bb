"""The promise of a limit: whatever is asked, and whenever, no window ever holds more than it may."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.limits.rates import Rate
from mailer.delivery.limits.windows import SLOTS, decide, gates
from tests.unit.limits.windows_seen import most_in_any_window

UNITS = st.sampled_from([1, 60, 3600])
RATES = st.lists(
    st.builds(Rate, st.integers(1, 3000), UNITS), min_size=1, max_size=3, unique_by=lambda rate: rate.seconds
)
#: Seconds since the take before, and how many are wanted.
TAKES = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0.0001, 0.3), st.floats(0.5, 1.5), st.floats(30, 4000)),
        st.integers(1, 500),
    ),
    max_size=60,
)


class Bank:
    """Gates with their memories, as a store keeps them: through JSON."""

    def __init__(self, rates):
        self.gates = gates(rates)
        self.memory = {}
        self.log = []

    def take(self, now, wanted):
        memory = json.loads(json.dumps(self.memory))
        decision = decide([(gate, memory.get(gate.name)) for gate in self.gates], wanted, now)
        if decision.granted:
            self.log.append((now, decision.granted))
            for gate in self.gates:
                self.memory[gate.name] = gate.after(memory.get(gate.name), now, decision.granted)
        return decision


@given(rates=RATES, takes=TAKES, start=st.floats(0, 2e9))
def test_no_window_ever_holds_more_than_its_rate(rates, takes, start):
    bank, now = Bank(rates), start
    for after, wanted in takes:
        now += after
        bank.take(now, wanted)

    for rate in rates:
        assert most_in_any_window(bank.log, rate.seconds) <= rate.count


@given(rates=RATES, takes=TAKES)
def test_who_waits_as_told_is_let_through(rates, takes):
    bank, now = Bank(rates), 1e9
    for after, wanted in takes:
        now += after
        decision = bank.take(now, wanted)
        assert 0 <= decision.granted <= wanted
        assert (decision.wait > 0) == (decision.granted < wanted)
        if not decision.granted:
            now += decision.wait
            assert bank.take(now + 1e-6, wanted).granted > 0


@pytest.mark.parametrize(
    "rate", [Rate(1, 1), Rate(20, 1), Rate(100, 1), Rate(1000, 1), Rate(500, 60), Rate(6000, 60)]
)
def test_over_time_the_rate_is_used_to_98_percent_and_never_exceeded(rate):
    bank, now, until = Bank([rate]), 0.0, 4 * rate.seconds + 60.0
    while now < until:
        decision = bank.take(now, 200)
        now += decision.wait + 0.002  # a caller always comes a little late

    granted = sum(n for _, n in bank.log)
    assert granted >= 0.98 * rate.per_second * until
    assert granted <= rate.per_second * until + rate.count


def test_a_rate_per_second_is_spread_over_the_second():
    bank = Bank([Rate(100, 1)])
    for step in range(1000):
        bank.take(step / 1000, 100)

    assert most_in_any_window(bank.log, 0.25) <= 50


def test_a_thousand_a_second_do_not_cost_a_thousand_calls():
    bank, now, calls = Bank([Rate(1000, 1)]), 0.0, 0
    while now < 10:
        now += bank.take(now, 10_000).wait
        calls += 1

    assert calls <= 10 * 25


def test_an_hour_may_be_used_up_at_once_and_comes_back_as_it_was_used():
    bank = Bank([Rate(1000, 3600)])

    assert bank.take(0.0, 600).granted == 600
    assert bank.take(1800.0, 600).granted == 400
    assert bank.take(1801.0, 1).wait == pytest.approx(3600 - 1801)
    assert bank.take(3600.0, 1000).granted == 600


def test_the_memory_of_a_day_stays_small():
    bank = Bank([Rate(1_000_000, 86_400)])
    for second in range(0, 200_000, 60):
        bank.take(float(second), 1)

    assert len(bank.memory["quota:86400"]) <= SLOTS + 1


def test_a_clock_set_back_stops_nothing_for_long():
    bank = Bank([Rate(100, 1), Rate(500, 60)])
    bank.take(1_000_000.0, 50)

    assert bank.take(1000.0, 1).granted == 1


def test_a_clock_set_back_a_little_does_not_lift_the_limit():
    bank = Bank([Rate(100, 3600)])
    bank.take(1000.0, 100)

    assert bank.take(900.0, 1).granted == 0
    assert bank.take(4600.0, 1).granted == 1
