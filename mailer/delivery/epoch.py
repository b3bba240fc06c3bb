"""Notices that a ledger was restored from a backup: it has forgotten mail that it sent since (I9).

The pump raises a number in the ledger each second and keeps a copy outside. A ledger whose number is
below the copy is older than what has happened.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mailer.ledger.contract import CampaignState, Runner
from mailer.ledger.ledger import Ledger

#: Why campaigns are paused then.
RESTORED = (
    "the ledger is older than what has already been sent from it (restored from a backup?): "
    "rows that it calls pending may have been sent; check, then go on with --accept-epoch"
)


class EpochCopy(Protocol):
    """Where the copy lies. Called on the ledger's thread; both may block for a moment."""

    def read(self) -> int: ...

    def write(self, epoch: int) -> None: ...


@dataclass(frozen=True, slots=True)
class SidecarEpoch:
    """A small file beside an SQLite ledger; restoring the database alone leaves it as it was."""

    path: Path

    def read(self) -> int:
        """0 when there is no copy yet, or it cannot be understood."""
        try:
            return int(self.path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def write(self, epoch: int) -> None:
        # Replaced, not rewritten: a reader never sees half a number. Losing the last seconds of it in
        # a power cut is harmless, so it is not synced.
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.write_text(str(epoch), encoding="ascii")
        fresh.replace(self.path)


def is_restored(ledger: Ledger, copy: EpochCopy) -> bool:
    """False without a copy. A new ledger beside the copy of an older one is newer than that."""
    copied = copy.read()  # first: another pump may raise both meanwhile
    return ledger.schedule.epoch() < copied


def accept(ledger: Ledger, copy: EpochCopy) -> None:
    """A person has looked: go on from what the ledger knows."""
    copy.write(ledger.schedule.epoch())


def guard(ledger: Ledger, copy: EpochCopy, runner: Runner) -> bool:
    """False: the ledger was restored; its running campaigns are paused now.

    Asked before the first claim too: the broker may still hold hints of rows that went out long ago.
    """
    if not is_restored(ledger, copy):
        return True
    for campaign in ledger.schedule.runnable(runner):
        if campaign.state is CampaignState.RUNNING:
            ledger.campaigns.pause(campaign.id, RESTORED)
    return False


def beat(ledger: Ledger, copy: EpochCopy, runner: Runner) -> bool:
    """``guard``, and raise the epoch and its copy."""
    if not guard(ledger, copy, runner):
        return False
    copy.write(ledger.schedule.raise_epoch())
    return True
