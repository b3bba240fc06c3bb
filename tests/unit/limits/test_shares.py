"""Fair parts of connections: the total holds at every moment, whoever asks when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.limits.shares import BULK, LEASE_SECONDS, TRANSACTIONAL, Asker, Lot, ask, fair_parts

TEN = Lot(10, reserve=2)


@pytest.mark.parametrize(
    ("wants", "expected"),
    [
        ({"a": (BULK, 30)}, {"a": 8}),
        ({"a": (BULK, 30), "b": (BULK, 30)}, {"a": 4, "b": 4}),
        ({"a": (BULK, 1), "b": (BULK, 30)}, {"a": 1, "b": 7}),
        ({"t": (TRANSACTIONAL, 30)}, {"t": 10}),
        ({"a": (BULK, 30), "t": (TRANSACTIONAL, 1)}, {"a": 8, "t": 1}),
        ({"a": (BULK, 30), "t": (TRANSACTIONAL, 30)}, {"a": 5, "t": 5}),
        ({"a": (BULK, 9), "b": (BULK, 9), "c": (BULK, 9), "d": (BULK, 9), "t": (TRANSACTIONAL, 9)},
         {"a": 2, "b": 2, "c": 2, "d": 2, "t": 2}),
    ],
)  # fmt: skip
def test_everybody_gets_the_same_and_bulk_leaves_the_reserve(wants, expected):
    assert fair_parts(wants, TEN) == expected


def test_a_single_connection_is_for_everybody_and_for_bulk_last():
    assert Lot(1, reserve=1).for_bulk == 1
    assert fair_parts({"a": (BULK, 30)}, Lot(1, 1)) == {"a": 1}
    assert fair_parts({"a": (BULK, 30), "t": (TRANSACTIONAL, 1)}, Lot(1, 1)) == {"a": 0, "t": 1}


def test_transactional_mail_gets_the_only_connection_of_a_busy_bulk_process_and_hands_it_back():
    table, _ = ask({}, 0.0, Asker("a", BULK, 0, 8), Lot(1))
    table, _ = ask(table, 0.1, Asker("a", BULK, 1, 8), Lot(1))
    table, share = ask(table, 1.0, Asker("t", TRANSACTIONAL, 0, 1), Lot(1))
    assert share == 0
    table, share = ask(table, 1.1, Asker("a", BULK, 1, 8), Lot(1))
    assert share == 0  # it closes it when its message is done
    table, _ = ask(table, 1.2, Asker("a", BULK, 0, 8), Lot(1))
    table, share = ask(table, 2.0, Asker("t", TRANSACTIONAL, 0, 1), Lot(1))
    assert share == 1
    table, share = ask(table, 3.0, Asker("t", TRANSACTIONAL, 1, 0), Lot(1))
    assert share == 0
    table, _ = ask(table, 3.1, Asker("t", TRANSACTIONAL, 0, 0), Lot(1))
    assert ask(table, 3.2, Asker("a", BULK, 0, 8), Lot(1))[1] == 1


def test_what_is_idle_is_kept_until_somebody_needs_it():
    table, share = ask({}, 0.0, Asker("a", BULK, 0, 8), TEN)
    assert share == 8
    table, share = ask(table, 1.0, Asker("a", BULK, 8, 1), TEN)
    assert share == 8
    table, share = ask(table, 1.5, Asker("b", BULK, 0, 4), TEN)
    assert share == 0
    table, share = ask(table, 2.0, Asker("a", BULK, 8, 1), TEN)
    assert share == 1
    table, share = ask(table, 2.1, Asker("a", BULK, 1, 1), TEN)
    table, share = ask(table, 2.5, Asker("b", BULK, 0, 4), TEN)
    assert share == 4


def test_who_says_nothing_any_more_loses_its_connections():
    table, _ = ask({}, 0.0, Asker("a", BULK, 8, 8), TEN)

    assert ask(table, LEASE_SECONDS - 0.1, Asker("b", BULK, 0, 8), TEN)[1] == 0
    assert ask(table, LEASE_SECONDS + 0.1, Asker("b", BULK, 0, 8), TEN)[1] == 8


def test_who_needs_nothing_is_forgotten():
    table, _ = ask({}, 0.0, Asker("a", BULK, 0, 8), TEN)

    assert ask(table, 1.0, Asker("a", BULK, 0, 0), TEN) == ({}, 0)


def test_in_a_new_table_nobody_gets_more_than_is_open():
    assert ask({}, 0.0, Asker("a", BULK, 3, 8), TEN, settling=True)[1] == 3


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "t"]),
        st.integers(0, 15),  # wanted
        st.floats(0, 1),  # of what it may have, the part that it opens
        st.floats(0, 3),  # seconds
    ),
    max_size=60,
)


@given(total=st.integers(1, 12), reserve=st.integers(0, 4), steps=STEPS)
def test_there_are_never_more_open_than_the_total(total, reserve, steps):
    """A process opens at most its share, closes down to it, and is silent for as long as it likes."""
    lot, table, now = Lot(total, reserve), {}, 0.0
    opened, until = dict.fromkeys("abct", 0), dict.fromkeys("abct", 0.0)
    for name, wanted, part, after in steps:
        now += after
        for each in opened:
            if until[each] <= now:
                opened[each] = 0  # as if it had died
        stream = TRANSACTIONAL if name == "t" else BULK
        table, share = ask(table, now, Asker(name, stream, opened[name], wanted), lot)
        until[name] = now + LEASE_SECONDS
        opened[name] = min(share, max(opened[name], round(part * share)))

        assert sum(opened.values()) <= total
        assert sum(opened[each] for each in "abc") <= lot.for_bulk
