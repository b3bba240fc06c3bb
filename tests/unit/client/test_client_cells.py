"""What is stored is what the standard library would store; names are nobody else's."""

import ctypes
import json
import math
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import ContentError
from mailer.outbox import cells, names

PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec=None), max_size=9)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=9,
)


@given(st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), PLAIN, max_size=4))
def test_data_is_what_the_standard_library_gives_back(given):
    try:
        expected = json.loads(json.dumps(given, allow_nan=False))
    except ValueError:
        with pytest.raises(ContentError, match="cannot be stored"):
            cells.data(given)
        return

    assert cells.data(given) == expected
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(ContentError, match="surrogate"):
            cells.stored(expected)
        return
    assert json.loads(cells.stored(expected)) == expected


def test_what_is_no_json_by_itself():
    at = datetime(2026, 11, 21, 9, tzinfo=UTC)
    some = {"at": at, "day": date(2026, 11, 21), "id": UUID(int=7), "sum": Decimal("1.50"), "pair": (1, 2)}

    assert cells.data(some) == {
        "at": "2026-11-21T09:00:00+00:00",
        "day": "2026-11-21",
        "id": str(UUID(int=7)),
        "sum": "1.50",
        "pair": [1, 2],
    }
    for wrong in (math.nan, math.inf, 10**5000, b"x", {1, 2}, at.time()):
        with pytest.raises(ContentError, match="cannot be stored"):
            cells.data({"wrong": wrong})


@pytest.mark.parametrize("fork", [os.fork, ctypes.PyDLL(None).fork], ids=["python", "uwsgi"])
def test_a_child_has_names_of_its_own(fork):
    """Also when the fork is one that Python is not told of."""
    names.public(0.0)  # so that others are drawn already
    reads, writes = os.pipe()
    if (child := fork()) == 0:
        os.write(writes, names.of_content().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)

    with os.fdopen(reads) as told:
        assert told.read() != names.of_content()


def test_names_differ_and_are_in_order_of_time():
    drawn = [names.public(n) for n in range(3 * names.AT_ONCE)]

    assert len({name[11:] for name in drawn}) == len(drawn)
    assert drawn == sorted(drawn)
