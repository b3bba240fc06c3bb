"""What ``mailer doctor`` makes of the workers' signatures in the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailer.delivery.sight import MISSING, fingerprint
from mailer.ledger.workers import Signed
from mailer.settings import Settings

#: Workers sign every ten seconds.
LATELY = 60.0
#: Who has been silent for longer is history.
FORGOTTEN = 86_400.0
#: Clocks of machines that keep time differ by less.
CLOCKS = 2.0


def judged(signed: Sequence[Signed], settings: Settings) -> Iterator[tuple[str, bool, str]]:
    """For each worker of the last day: its name, whether all is well, and what was seen."""
    shared = "files" in settings.model_fields_set
    here = fingerprint(settings.files_root) if shared else None
    for worker in signed:
        if worker.ago < FORGOTTEN:
            troubles = list(_troubles(worker, here))
            yield worker.name, not troubles, "; ".join(troubles) or f"seen {worker.ago:.0f} s ago"


def _troubles(worker: Signed, here: str | None) -> Iterator[str]:
    if worker.ago > LATELY:
        yield (
            f"not seen for {worker.ago:.0f} s, and nobody has stopped it: it died, hangs, or cannot reach "
            "the ledger; look into its log and start it again. A day later it is forgotten"
        )
    if abs(worker.clock_ahead) > CLOCKS:
        yield f"its clock is {worker.clock_ahead:+.0f} s off the ledger's: let it keep time (NTP)"
    if here is not None and worker.facts.get("files") == MISSING:
        yield "it does not see the files root: mount it there"
    elif here is not None and worker.facts.get("files") != here:
        yield "it sees other files than this machine does: mount the same folder"
