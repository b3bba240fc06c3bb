"""What ``mailer doctor`` says of workers."""

import socket
import time

from mailer.cli.signatures import judged
from mailer.delivery.sight import fingerprint
from mailer.ledger import open_ledger
from mailer.settings import Settings
from tests.servers import wait_until
from tests.working import worker, write_settings

#: The ledger's clock stands still: however slow this machine is, nobody's is late but who is meant to be.
NOW = 1_800_000_000.0


def test_workers_that_are_late_elsewhere_or_blind_are_named(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.pdf").write_text("a")
    (tmp_path / "mailer.toml").write_text('files = "files"\n')
    settings = Settings.load(tmp_path)
    here = fingerprint(tmp_path / "files")
    ledger = open_ledger(settings.ledger_url, clock=lambda: NOW)
    ledger.workers.sign("bulk-1@a", {"clock": NOW, "files": here})
    ledger.workers.sign("bulk-1@a", {"clock": NOW, "files": here})  # again: still one
    ledger.workers.sign("bulk-1@b", {"clock": NOW + 90, "files": here})
    ledger.workers.sign("bulk-1@c", {"clock": NOW, "files": "missing"})
    ledger.workers.sign("bulk-1@d", {"clock": NOW, "files": fingerprint(tmp_path)})
    found = {name: (well, text) for name, well, text in judged(ledger.workers.signed(), settings)}
    ledger.close()

    assert found["bulk-1@a"] == (True, "seen 0 s ago")
    assert found["bulk-1@b"] == (False, "its clock is +90 s off the ledger's: let it keep time (NTP)")
    assert found["bulk-1@c"] == (False, "it does not see the files root: mount it there")
    assert found["bulk-1@d"] == (False, "it sees other files than this machine does: mount the same folder")


def test_who_was_told_to_end_is_not_missed_and_who_was_killed_is(tmp_path, redis_server, smtp_sink):
    write_settings(tmp_path, broker=redis_server.url, backend=smtp_sink().url)
    settings = Settings.load(tmp_path)
    # An hour ahead: whoever signed before now is missed.
    ledger = open_ledger(settings.ledger_url, clock=lambda: time.time() + 3600)
    told, killed = (f"{name}@{socket.gethostname()}" for name in ("told", "killed"))

    def signed():
        return {one.name for one in ledger.workers.signed()}

    with worker(tmp_path, "told") as one, worker(tmp_path, "killed") as other:
        wait_until(lambda: signed() == {told, killed}, "both have signed")
        other.kill()
        one.stop()
    found = {name: (well, text) for name, well, text in judged(ledger.workers.signed(), settings)}
    ledger.close()

    assert found.keys() == {killed}
    well, text = found[killed]
    assert not well
    assert "nobody has stopped it" in text


def test_a_worker_that_ends_withdraws_only_what_it_has_signed_itself(tmp_path):
    ledger = open_ledger(f"sqlite:///{tmp_path}/mailer.db")
    for process in ("before", "after"):  # the next one of this name has begun already
        ledger.workers.sign("bulk-1@a", {"clock": time.time(), "process": process})
    ledger.workers.withdraw("bulk-1@a", "before")
    still = [one.name for one in ledger.workers.signed()]
    ledger.workers.withdraw("bulk-1@a", "after")
    ledger.workers.withdraw("bulk-1@a", "after")

    assert still == ["bulk-1@a"]
    assert ledger.workers.signed() == []
    ledger.close()
