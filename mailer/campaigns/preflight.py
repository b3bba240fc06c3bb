"""Proof before the first send: every row is parsed and rendered, strictly, and nothing leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mailer.campaigns import recipients
from mailer.campaigns.prepared import Prepared
from mailer.campaigns.proof import Packed, Proof, Task
from mailer.campaigns.provers import Provers, cores
from mailer.campaigns.recipients import Entry, Invalid, InvalidWriter, Sieve
from mailer.campaigns.report import Report, shared_fault
from mailer.campaigns.slugs import slugged
from mailer.campaigns.spool import PlainRow, Spool
from mailer.errors import TemplateError

#: Small enough that a short list keeps every core busy and progress is seen.
_CHUNK_ROWS = 250

#: Seconds that so many rows per lane take under the limits; None when there are none.
Estimate = Callable[[Mapping[str, int]], float | None]
#: Told after each chunk how many rows have been read.
Progress = Callable[[int], None]


class Suppressions(Protocol):
    """What a check asks of ``ledger.suppressions``."""

    def among(self, addresses: Sequence[str], stream: str) -> set[str]:
        """Those of the addresses that must not be mailed in this stream."""
        ...


def check(
    prepared: Prepared,
    *,
    processes: int | None = None,
    suppressions: Suppressions | None = None,
    estimate: Estimate | None = None,
    invalid_file: Path | None = None,
    on_progress: Progress | None = None,
    keep_rows: bool = False,
    taken: Iterable[tuple[str, int]] = (),
) -> Report:
    """Prove every row in up to ``processes`` children (default: one per core). Memory stays flat.

    Rows that cannot be sent go to ``invalid_file`` (default: ``invalid_file_of``); the others may be kept
    for ``open_campaign``. ``taken`` are keys, each with its line, that count as seen.

    Raises RecipientsError when the list cannot be read on, TemplateError when the template cannot be
    compiled, runs away, or fails for every row in the same way.
    """
    began = time.monotonic()
    reader = recipients.open(prepared.source)
    report = Report(described=reader.described, headers=reader.columns.headers)
    report.spool = Spool() if keep_rows else None
    path = invalid_file or invalid_file_of(prepared)
    task = Task(prepared.package, prepared.mail, prepared.files_root, reader.examiner, time.time())
    try:
        with (
            reader.sieve() as sieve,
            Provers(task, processes or cores()) as pool,
            InvalidWriter(path, reader.columns.headers) as rejects,
        ):
            report.tally = sieve.tally
            sieve.known(taken)
            run = _Run(report, sieve, rejects, suppressions, prepared.stream, on_progress)
            for proof in pool.prove(reader.chunks(_CHUNK_ROWS)):
                run.take(proof)
            report.compiled = pool.compiled
            prepared.unchanged()
        report.invalid_file = path if rejects.rows else None
        report.estimate = estimate(report.lanes) if estimate else None
    except BaseException:
        report.close()
        raise
    report.seconds = time.monotonic() - began
    return report


def invalid_file_of(prepared: Prepared) -> Path:
    """``campaign.invalid.csv`` beside ``campaign.toml``; without a file, by the campaign's name, here."""
    spec = prepared.spec
    if spec.file is not None:
        return spec.file.with_name(f"{spec.file.stem}.invalid.csv")
    return Path.cwd() / f"{slugged(spec.title)}.invalid.csv"


@dataclass(frozen=True, slots=True)
class _Run:
    """Takes the proofs in order, and sorts their rows."""

    report: Report
    sieve: Sieve
    rejects: InvalidWriter
    suppressions: Suppressions | None
    stream: str
    on_progress: Progress | None

    def take(self, proof: Proof) -> None:
        report = self.report
        if not report.rendered and (fault := shared_fault(proof)) and fault.file:
            # Nothing has been rendered so far, and these all fail at one place of the template.
            raise TemplateError(f"{fault.message} (so in every row)", fault.file, fault.line, hint=fault.hint)
        report.add_proof(proof)
        kept = [self._sorted(entry, proof.packed) for entry in self.sieve(proof.examined)]
        rows = [row for row in kept if row is not None]
        report.lanes.update(row[3] for row in rows)
        if self.suppressions is not None and rows:
            report.suppressed += len(self.suppressions.among([row[2] for row in rows], self.stream))
        if report.spool is not None:
            report.spool.write(rows)
        if self.on_progress is not None:
            self.on_progress(report.tally.rows)

    def _sorted(self, entry: Entry, packed: Mapping[int, Packed]) -> PlainRow | None:
        if isinstance(entry, Invalid):
            if not entry.cells and entry.ordinal in packed:  # a duplicate, whose cells travelled as JSON
                entry.cells = tuple(json.loads(packed[entry.ordinal].cells).values())
            self.rejects.write(entry)
            self.report.add_invalid(entry)
            return None
        address = entry.address
        return (entry.ordinal, entry.line, address.addr, address.lane, *packed[entry.ordinal])
