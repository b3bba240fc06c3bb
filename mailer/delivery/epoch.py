"""Notices that a ledger was restored from a backup: it has forgotten mail that it sent since (I9).

The pump raises a number in the ledger each second and keeps a copy outside. A ledger whose number is
below the copy is older than what has happened.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from mailer.ledger.contract import CampaignState, Runner
from mailer.ledger.ledger import Ledger

log = logging.getLogger(__name__)

#: Why campaigns are paused then.
RESTORED = (
    "the ledger is older than what has already been sent from it (restored from a backup? or the -wal file "
    "beside it, which holds its latest changes, was deleted or left behind?): rows that it calls pending may "
    "have been sent; check, then go on with --accept-epoch"
)


class EpochCopy(Protocol):
    """Where the copy lies. Called on the ledger's thread; both may block for a moment."""

    def read(self) -> int: ...

    def write(self, epoch: int) -> None: ...


@dataclass(frozen=True, slots=True)
class SidecarEpoch:
    """A small file; beside an SQLite ledger, restoring the database alone leaves it as it was."""

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


#: After Redis did not answer, it is left alone for so long: the pump must not wait for it each second.
REDIS_REST_SECONDS = 30.0
#: A Redis that takes longer to answer is away: campaigns do not wait for the copy.
REDIS_ANSWER_SECONDS = 1.0


class RedisEpoch:
    """A key in Redis, for workers on several machines. A Redis that is away, or was emptied, is no copy: the
    pump goes on, and what was restored meanwhile is not noticed."""

    def __init__(self, url: str, name: str) -> None:
        from redis import Redis

        limit = REDIS_ANSWER_SECONDS
        self._redis = Redis.from_url(url, socket_timeout=limit, socket_connect_timeout=limit)
        self._key = f"mailer:epoch:{name}"
        self._rests_until = 0.0

    def read(self) -> int:
        found = self._ask(lambda: self._redis.get(self._key))
        return int(found) if isinstance(found, bytes) and found.isdigit() else 0

    def write(self, epoch: int) -> None:
        self._ask(lambda: self._redis.set(self._key, epoch))

    def _ask(self, command: Callable[[], object]) -> object:
        from redis import RedisError

        if time.monotonic() < self._rests_until:
            return None
        try:
            return command()
        except RedisError as error:
            self._rests_until = time.monotonic() + REDIS_REST_SECONDS
            log.warning("no copy of the ledger's epoch in Redis (%s)", type(error).__name__)
            return None


def epoch_copy(ledger_url: str, redis_url: str | None = None) -> EpochCopy:
    """Beside an SQLite ledger; for PostgreSQL in Redis if there is one, else in this user's folder for
    state (``XDG_STATE_HOME``), so that each machine that sends has one."""
    if ledger_url.startswith("sqlite"):
        return SidecarEpoch(beside(ledger_url, ".epoch"))
    place = urlsplit(ledger_url)
    name = f"{place.hostname or ''}:{place.port or 5432}{place.path}"  # without the login
    if redis_url:
        return RedisEpoch(redis_url, name)
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "mailer")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SidecarEpoch(home / f"{sha256(name.encode()).hexdigest()[:16]}.epoch")


def beside(ledger_url: str, ending: str) -> Path:
    """A file beside an SQLite ledger: its path with another ending."""
    path = ledger_url.partition(":///")[2].partition("?")[0]
    return Path(f"{path}{ending}")


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
