"""Duplicates are found, wherever the first one stood."""

import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.ledger import seen
from mailer.ledger.seen import SeenKeys


def test_names_the_line_that_was_first_in_the_same_batch_and_in_earlier_ones(tmp_path):
    with SeenKeys(tmp_path) as keys:
        assert keys.first_line([("a@x", 2), ("b@x", 3), ("a@x", 4)]) == [None, None, 2]
        assert keys.first_line([("b@x", 5), ("c@x", 6)]) == [3, None]


@given(batches=st.lists(st.lists(st.text(max_size=3)), max_size=8))
def test_agrees_with_a_dictionary_across_tables(batches):
    first: dict[str, int] = {}
    line = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "_FIRST_TABLE", 2)
        with SeenKeys() as keys:
            for batch in batches:
                lined = [(key, line := line + 1) for key in batch]
                expected = [None if (was := first.setdefault(key, at)) == at else was for key, at in lined]

                assert expected == keys.first_line(lined)


def test_leaves_no_file_behind_and_closes_twice(tmp_path):
    keys = SeenKeys(tmp_path)
    keys.first_line([("a", 1)])
    keys.close()
    keys.close()

    assert list(tmp_path.iterdir()) == []


def test_a_full_temporary_folder_is_said_at_the_door(tmp_path):
    program = f"""
import resource, signal
from mailer.errors import LedgerError
from mailer.ledger.seen import SeenKeys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, {resource.RLIM_INFINITY}))
try:
    SeenKeys({str(tmp_path)!r})
except LedgerError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "free space, or set TMPDIR" in done.stdout
