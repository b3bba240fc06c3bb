from __future__ import annotations

import json
import os
import stat

import pytest

from mailer.delivery.lock import campaign_lock
from mailer.errors import StateConflict


def test_a_second_owner_is_told_who_holds_it(tmp_path):
    path = tmp_path / "mailer.db.1.lock"

    refused = pytest.raises(StateConflict, match=rf"process {os.getpid()} is sending this campaign")
    with campaign_lock(path, ("a",)), refused, campaign_lock(path, ("b",)):
        pass


def test_the_next_owner_learns_the_names_of_a_dead_one(tmp_path):
    path = tmp_path / "mailer.db.1.lock"
    path.write_text(json.dumps({"pid": 1, "workers": ["a/0", "a/1"]}))

    with campaign_lock(path, ("b",)) as former:
        assert former == ("a/0", "a/1")


def test_an_owner_that_left_in_good_order_leaves_no_names(tmp_path):
    path = tmp_path / "mailer.db.1.lock"
    with campaign_lock(path, ("a",)):
        pass

    with campaign_lock(path, ("b",)) as former:
        assert former == ()


@pytest.mark.parametrize("text", ["", "half a {", "[]", '{"workers": 3}'])
def test_whatever_a_crash_left_in_the_file_is_no_obstacle(tmp_path, text):
    path = tmp_path / "mailer.db.1.lock"
    path.write_text(text)

    with campaign_lock(path, ("b",)) as former:
        assert former == ()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
