"""What ``mailer doctor`` says of workers."""

import time

from mailer.cli.signatures import judged
from mailer.delivery.sight import fingerprint
from mailer.ledger import open_ledger
from mailer.settings import Settings


def test_workers_that_are_late_elsewhere_or_blind_are_named(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.pdf").write_text("a")
    (tmp_path / "mailer.toml").write_text('files = "files"\n')
    settings = Settings.load(tmp_path)
    here = fingerprint(tmp_path / "files")
    ledger = open_ledger(settings.ledger_url)
    ledger.workers.sign("bulk-1@a", {"clock": time.time(), "files": here})
    ledger.workers.sign("bulk-1@a", {"clock": time.time(), "files": here})  # again: still one
    ledger.workers.sign("bulk-1@b", {"clock": time.time() + 90, "files": here})
    ledger.workers.sign("bulk-1@c", {"clock": time.time(), "files": "missing"})
    ledger.workers.sign("bulk-1@d", {"clock": time.time(), "files": fingerprint(tmp_path)})
    found = {name: (well, text) for name, well, text in judged(ledger.workers.signed(), settings)}
    ledger.close()

    assert found["bulk-1@a"] == (True, "seen 0 s ago")
    assert found["bulk-1@b"] == (False, "its clock is +90 s off the ledger's: let it keep time (NTP)")
    assert found["bulk-1@c"] == (False, "it does not see the files root: mount it there")
    assert found["bulk-1@d"] == (False, "it sees other files than this machine does: mount the same folder")
