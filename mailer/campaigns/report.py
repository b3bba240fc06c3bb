"""What a check found out: numbers, complaints, and the rows that may be sent."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mailer.campaigns.proof import SIZE_STEP, Compiled, Fault, Proof
from mailer.campaigns.recipients.contract import Invalid, Tally
from mailer.campaigns.spool import Spool
from mailer.content.lint import Finding

#: Different reasons that are counted apart; all rows with their reasons are in the file of invalid rows.
REASONS = 200
#: The one under which the rest is counted.
OTHER = "other reasons"
_QUOTED = re.compile(r"'[^']*'")
#: Rows that are named in full.
SHOWN = 20


@dataclass(slots=True)
class Reason:
    """Why rows are invalid: how many, and the line of the first."""

    count: int
    first_line: int
    example: str = ""  # as it was said of the first


@dataclass(slots=True)
class Report:
    """What ``check`` found. ``spool`` holds the rows that can be sent; whoever gets the report closes it."""

    tally: Tally = field(default_factory=Tally)
    duplicates: int = 0
    _kinds: dict[str, Reason] = field(default_factory=dict)
    first_invalid: list[Invalid] = field(default_factory=list)  # the first few, with reason and line
    unrendered: int = 0  # invalid because the template failed for them
    invalid_file: Path | None = None
    compiled: Compiled = field(default_factory=Compiled)  # what the templates read, what is odd about them
    empty: Counter[str] = field(default_factory=Counter)  # rows with an empty cell, by identifier
    rendered: int = 0
    sizes: Counter[int] = field(default_factory=Counter)  # messages by size // SIZE_STEP
    largest: tuple[int, int] = (0, 0)  # octets, and the line it is for
    clipped: int = 0  # messages whose HTML part Gmail would cut off
    suppressed: int = 0  # rows whose address will not be mailed
    lanes: Counter[str] = field(default_factory=Counter)
    estimate: float | None = None  # seconds under the limits; None: no limit applies
    sample: bytes | None = None  # the first message
    described: str = ""  # how the list was read: "CSV, semicolon, Windows-1252"
    headers: tuple[str, ...] = ()
    seconds: float = 0.0
    spool: Spool | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is odd about the template, but no reason to stop."""
        return self.compiled.findings

    @property
    def warnings(self) -> tuple[str, ...]:
        """What compiling had to leave undone, in words."""
        return self.compiled.warnings

    @property
    def valid(self) -> int:
        """Rows that can be sent."""
        return self.tally.valid

    @property
    def invalid(self) -> int:
        """Rows in the file of invalid rows; duplicates are among them."""
        return self.tally.invalid

    @property
    def median_size(self) -> int:
        """Octets, to within SIZE_STEP."""
        half, seen = (self.sizes.total() + 1) // 2, 0
        for step, count in sorted(self.sizes.items()):
            seen += count
            if seen >= half:
                return min(step * SIZE_STEP + SIZE_STEP // 2, self.largest[0])
        return 0

    @property
    def reasons(self) -> dict[str, Reason]:
        """By their text; values of single rows are left out where several rows share the rest."""
        return {one.example if one.count == 1 else kind: one for kind, one in self._kinds.items()}

    def add_proof(self, proof: Proof) -> None:
        self.rendered += proof.rendered
        self.unrendered += len(proof.faults)
        self.sizes.update(proof.sizes)
        self.largest = max(self.largest, proof.largest)
        self.clipped += proof.clipped
        self.empty.update(proof.empty)
        self.sample = proof.sample if self.sample is None else self.sample

    def add_invalid(self, row: Invalid) -> None:
        if row.reason.startswith("duplicate of line "):
            self.duplicates += 1
            reason = "duplicate"
        else:
            reason = f"{row.column}: {row.reason}" if row.column else row.reason
        if len(self.first_invalid) < SHOWN:
            self.first_invalid.append(row)
        # What is quoted is the row's own value: one missing file per row is one reason, not a million.
        kind = _QUOTED.sub("'…'", reason)
        if kind not in self._kinds and len(self._kinds) >= REASONS:
            kind = reason = OTHER
        known = self._kinds.setdefault(kind, Reason(0, row.line, reason))
        known.count += 1

    def close(self) -> None:
        if self.spool is not None:
            self.spool.close()


def shared_fault(proof: Proof) -> Fault | None:
    """The fault of every row of this chunk, if they all fail in the same way: then it is the template's."""
    kinds = {(fault.message, fault.file, fault.line) for _, fault in proof.faults}
    return proof.faults[0][1] if len(kinds) == 1 and not proof.rendered else None
