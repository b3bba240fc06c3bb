"""Where the copy of a ledger's epoch lies."""

from __future__ import annotations

import stat

from mailer.delivery.epoch import RedisEpoch, SidecarEpoch, epoch_copy
from tests.servers import PATIENCE

POSTGRES = "postgresql://me:s3cret@db.example/mail"


def test_beside_an_sqlite_ledger(tmp_path):
    assert epoch_copy(f"sqlite:///{tmp_path}/l.db", "redis://x") == SidecarEpoch(tmp_path / "l.db.epoch")


def test_of_a_postgresql_ledger_in_the_folder_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    epoch_copy(POSTGRES).write(7)

    assert epoch_copy("postgresql://somebody-else@db.example:5432/mail").read() == 7
    assert epoch_copy("postgresql://me@db.example/other").read() == 0
    assert stat.S_IMODE((tmp_path / "state/mailer").stat().st_mode) == 0o700


def test_in_redis_where_workers_share_one(redis_server, monkeypatch):
    monkeypatch.setattr("mailer.delivery.epoch.REDIS_ANSWER_SECONDS", PATIENCE)
    copy = epoch_copy(POSTGRES, redis_server.url)
    assert isinstance(copy, RedisEpoch)
    assert copy.read() == 0

    copy.write(7)

    assert epoch_copy("postgresql://db.example/mail", redis_server.url).read() == 7


def test_a_redis_that_is_away_is_no_copy_and_no_obstacle(redis_server, caplog):
    copy = epoch_copy(POSTGRES, redis_server.url)
    copy.write(7)
    redis_server.process.kill()

    copy.write(8)

    assert copy.read() == 0
    assert caplog.text.count("no copy") == 1  # it rests, and is not asked each second
    assert "s3cret" not in caplog.text
