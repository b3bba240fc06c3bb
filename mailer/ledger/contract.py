"""The words of the ledger: what is stored, claimed, settled and counted.

The ledger is the queue of record: one row per recipient, each in exactly one state. A row's id is
``campaign_id << 32 | ordinal``, so (campaign, ordinal) is unique by construction and a campaign is one
range of ids.

A *fence* is the id of a lease: each claimed slice gets a new one, fences only grow, and the row keeps
the fence of the claim that touched it last. A mark counts only for the current fence, while the lease
lasts and the row is still claimed. A settlement counts while its fence is current, even when the
lease has run out or the row is already unknown.

All times are seconds since the epoch on the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from mailer.message import State

ORDINAL_BITS = 32


def row_id(campaign_id: int, ordinal: int) -> int:
    return campaign_id << ORDINAL_BITS | ordinal


def campaign_of(message_id: int) -> int:
    return message_id >> ORDINAL_BITS


def ordinal_of(message_id: int) -> int:
    return message_id & ((1 << ORDINAL_BITS) - 1)


class CampaignState(StrEnum):
    OPENING = "opening"  # rows are still being written
    SCHEDULED = "scheduled"  # starts at ``start_at``
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Runner(StrEnum):
    """Who runs a campaign: the command that opened it, or the workers."""

    EMBEDDED = "embedded"
    WORKERS = "workers"
    APPLICATION = "application"  # whatever process has a Mailer open that delivers by itself


class Event(StrEnum):
    """What somebody has to be told of a campaign."""

    PAUSED = "paused"  # by itself: nobody was there
    FINISHED = "finished"
    ALARM = "alarm"  # it goes wrong, and goes on; kept nowhere


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """``digest`` is the identity (I6): of spec, templates and recipients. ``spec`` is JSON-able and
    opaque to the ledger; what the engine needs to know lies in it."""

    slug: str  # readable id: november-newsletter-7f3a
    name: str
    digest: str
    spec: Mapping[str, Any]
    runner: Runner = Runner.EMBEDDED
    stream: str = "bulk"
    backend: str = ""
    priority: int = 0
    start_at: float | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as the ledger holds it."""

    id: int
    slug: str
    name: str
    digest: str
    spec: Mapping[str, Any]
    runner: Runner
    stream: str
    backend: str
    priority: int
    state: CampaignState
    reason: str | None  # why it is paused, in words
    total: int  # rows, once opened
    invalid_rows: int
    version: int  # of spec and templates; raised by an update of a paused campaign
    created_at: float
    start_at: float | None
    started_at: float | None
    finished_at: float | None
    blocked_seconds: float  # time paused or blocked: not counted against retry budgets
    halted_since: float | None  # start of the pause that is not yet part of blocked_seconds
    revision: int = 1  # raised by every change of what or how it sends; a version is one of them
    pruned_at: float | None = None  # since then only its counts are known


@dataclass(frozen=True, slots=True)
class NewRow:
    """One valid recipient. ``cells`` is the input row as JSON text (an object, original header names);
    ``files`` the per-recipient attachments as recorded at opening, as JSON text or None."""

    ordinal: int
    line: int  # where it stood in the input
    address: str  # normalised, deliverable form
    lane: str
    cells: str
    files: str | None = None


@dataclass(slots=True)
class Row:
    """One claimed row, as the engine gets it."""

    id: int
    address: str
    lane: str
    cells: str
    files: str | None
    attempts: int  # finished attempts that were spent before this one
    first_tried_at: float | None
    version: int
    backend: str | None = None  # of the last attempt; None if that was unsure and of another version
    unsure: bool = False  # the last attempt may have been sent, and is made again on purpose


@dataclass(slots=True)
class Slice:
    """What one claim brought: only rows that this caller now holds, all of one campaign.

    Rows whose address is suppressed for the campaign's stream were settled as such and are counted in
    ``suppressed``. ``blocked_seconds`` is the campaign's, at the time of the claim.
    """

    fence: int
    campaign_id: int
    rows: list[Row]
    suppressed: int = 0
    blocked_seconds: float = 0.0
    now: float = 0.0
    revision: int = 1  # the campaign's, as of the claim


@dataclass(slots=True)
class Settlement:
    """What became of one claimed row. PENDING or DEFERRED gives it back, due at ``due_at``.

    ``spent`` False (a limit, a blocked or resting backend, a drain) leaves attempts and
    first_tried_at as they were and writes no attempt into the history.
    """

    id: int
    fence: int
    state: State
    due_at: float | None = None
    spent: bool = True
    code: int | None = None
    enhanced: str | None = None
    phase: str | None = None
    reply: str | None = None
    reason: str | None = None
    backend: str | None = None
    reference: str | None = None
    copies: str | None = None  # JSON: refused Cc and Bcc recipients
    suppress: bool = False  # add the address to the suppression list
    cells: str | None = None  # what is left of them if this ends the row, when the rest is secret


@dataclass(frozen=True, slots=True)
class Recovery:
    """What expired leases left: rows provably unsent went back, rows in sending became unknown."""

    leases: int = 0
    returned: int = 0
    unknown: int = 0
    retried: int = 0  # unknown rows of campaigns with on_unknown = "retry", pending again


class Retried(NamedTuple):
    """``rows`` wait again; ``lifted`` addresses are no longer suppressed."""

    rows: int
    lifted: int


@dataclass(frozen=True, slots=True)
class Result:
    """One line of ``mailer results``."""

    id: int
    line: int
    address: str
    cells: str
    state: State
    attempts: int
    code: int | None
    enhanced: str | None
    reply: str | None
    reason: str | None
    backend: str | None
    reference: str | None
    copies: str | None
    settled_at: float | None
    due_at: float | None
    outcome: str | None
    version: int
    phase: str | None = None


class Why(NamedTuple):
    """So many rows are in this state for this reason."""

    state: State
    code: int | None
    enhanced: str | None
    reason: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One earlier try of a row; the latest stands in the row itself."""

    number: int
    at: float
    state: State
    phase: str | None
    code: int | None
    enhanced: str | None
    reply: str | None
    backend: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by state; every state is present. Read in one transaction."""

    states: Mapping[State, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PausedBackend:
    """No worker uses it until a person resumes it."""

    name: str
    since: float
    reason: str


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that must not be mailed, in its compared form; ``stream`` may be ``"*"``."""

    address: str
    stream: str
    reason: str
    added_at: float
