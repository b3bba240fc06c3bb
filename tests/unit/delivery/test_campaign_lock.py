from __future__ import annotations

import json
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

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


def test_an_owner_that_left_in_good_order_leaves_nothing(tmp_path):
    path = tmp_path / "mailer.db.1.lock"
    with campaign_lock(path, ("a",)):
        assert path.exists()

    assert list(tmp_path.iterdir()) == []


def test_one_that_failed_leaves_the_names_of_those_who_may_hold_rows(tmp_path):
    path = tmp_path / "mailer.db.1.lock"
    with pytest.raises(ZeroDivisionError), campaign_lock(path, ("a",)):
        _ = 1 / 0

    with campaign_lock(path, ("b",)) as former:
        assert former == ("a",)


def test_the_file_is_never_held_twice_though_it_comes_and_goes(tmp_path):
    path, inside, overlaps = tmp_path / "mailer.db.1.lock", threading.Lock(), []

    def take_it(times):
        taken = 0
        while taken < times:
            with suppress(StateConflict), campaign_lock(path, ()):
                taken += 1
                overlaps.append(not inside.acquire(blocking=False))
                time.sleep(0)
                inside.release()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take_it, [100] * 4))

    assert overlaps == [False] * 400
    assert not path.exists()


def test_a_file_that_was_removed_before_it_was_locked_protects_nothing(tmp_path, monkeypatch):
    path, opened = tmp_path / "mailer.db.1.lock", Path.open

    def open_and_lose(self, *arguments, **more):
        monkeypatch.undo()
        file = opened(self, *arguments, **more)
        self.unlink()  # its owner leaves just now
        return file

    monkeypatch.setattr(Path, "open", open_and_lose)
    refused = pytest.raises(StateConflict)
    with campaign_lock(path, ("a",)), refused, campaign_lock(path, ("b",)):
        pass


@pytest.mark.parametrize("text", ["", "half a {", "[]", '{"workers": 3}'])
def test_whatever_a_crash_left_in_the_file_is_no_obstacle(tmp_path, text):
    path = tmp_path / "mailer.db.1.lock"
    path.write_text(text)

    with campaign_lock(path, ("b",)) as former:
        assert former == ()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
