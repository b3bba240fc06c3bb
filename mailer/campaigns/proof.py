"""One chunk of recipients, proved: every row examined and rendered, strictly. Runs in a child process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mailer.campaigns.recipients.contract import Chunk, Examined, Invalid, Recipient
from mailer.campaigns.recipients.rows import Examiner
from mailer.content.attachments import has_markup
from mailer.content.composer import MailComposer, compile_mail
from mailer.content.contract import MailSpec, Package
from mailer.content.identity import Identities, identities
from mailer.content.lint import CLIPPED_AT, Finding, findings
from mailer.errors import ContentError

# Kept, because ``json.dumps`` makes an encoder per call for anything but its defaults.
_as_json = json.JSONEncoder(ensure_ascii=False).encode

#: Sizes are counted in steps of this many octets.
SIZE_STEP = 64


class Fault(NamedTuple):
    """Why a row cannot be rendered; equal for rows that fail in the same way."""

    message: str
    file: str | None
    line: int | None
    hint: str | None


class Packed(NamedTuple):
    """A row as the ledger will keep it; ``files`` are its attachments as JSON."""

    cells: str
    files: str | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """What compiling told: columns that the templates read, what is odd, what had to be left undone."""

    used: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Proof:
    """What one chunk came to. Recipients in ``examined`` have no cells; those are in ``packed``."""

    examined: Examined
    packed: dict[int, Packed] = field(default_factory=dict)  # by ordinal
    faults: list[tuple[int, Fault]] = field(default_factory=list)  # line of the row, why
    rendered: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    largest: tuple[int, int] = (0, 0)  # octets, line
    clipped: int = 0
    empty: Counter[str] = field(default_factory=Counter)
    sample: bytes | None = None  # the first message


@dataclass(frozen=True, slots=True)
class Task:
    """What a prover works on; picklable. ``slug`` and ``date`` stand in until the campaign has its own."""

    package: Package
    mail: MailSpec
    files_root: Path
    examiner: Examiner
    date: float
    slug: str = "check"

    def identities(self) -> Identities:
        return identities(
            digest="check",
            slug=self.slug,
            date=self.date,
            sender=self.mail.sender,
            return_path=self.mail.envelope_sender,
        )


class Prover:
    """Compiled once. Raises TemplateError when the mail itself cannot be made."""

    def __init__(self, task: Task) -> None:
        self.composer: MailComposer = compile_mail(task.package, task.mail, files_root=task.files_root)
        self._examiner = task.examiner
        self._identities = task.identities()
        self._has_files = any(map(has_markup, task.mail.attachments))
        columns = task.examiner.columns
        used = self.composer.used()
        odd = findings(task.package, task.mail, self.composer, columns.identifiers)
        self.compiled = Compiled(used, tuple(odd), tuple(self.composer.warnings()))
        self._watched = [
            (header, name)
            for header, name in zip(columns.headers, columns.identifiers, strict=True)
            if name in used
        ]

    def __call__(self, chunk: Chunk, doomed: Mapping[int, str], begin: Callable[[int], None]) -> Proof:
        """``begin`` is told each ordinal before it is rendered; ``doomed`` ones are not tried."""
        examined = self._examiner(chunk)
        proof = Proof(examined)
        for index, entry in enumerate(examined.entries):
            if isinstance(entry, Recipient):
                begin(entry.ordinal)
                reason = doomed.get(entry.ordinal)
                fault = self._render(entry, proof) if reason is None else Fault(reason, None, None, None)
                cells, entry.cells = entry.cells, {}
                if fault is not None:
                    proof.faults.append((entry.line, fault))
                    examined.entries[index] = Invalid(
                        entry.ordinal, entry.line, None, worded(fault), tuple(cells.values())
                    )
        return proof

    def _render(self, entry: Recipient, proof: Proof) -> Fault | None:
        identity = self._identities.of(entry.ordinal)
        try:
            files = self.composer.row_files(entry.cells, identity) if self._has_files else ()
            data = self.composer.compose(entry.cells, entry.address.addr, identity, files).data
        except ContentError as error:
            message = f"{error.column}: {error.message}" if error.column else error.message
            return Fault(message, error.file, error.line, error.hint)
        recorded = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files]
        proof.packed[entry.ordinal] = Packed(
            _as_json(entry.cells), json.dumps(recorded) if recorded else None
        )
        self._measure(entry, data, proof)
        return None

    def _measure(self, entry: Recipient, data: bytes, proof: Proof) -> None:
        size = len(data)
        proof.rendered += 1
        proof.sizes[size // SIZE_STEP] += 1
        proof.largest = max(proof.largest, (size, entry.line))
        proof.clipped += size > CLIPPED_AT and html_size(data) > CLIPPED_AT
        proof.sample = data if proof.sample is None else proof.sample
        for header, name in self._watched:
            if not entry.cells[header]:
                proof.empty[name] += 1


def html_size(data: bytes) -> int:
    """Octets of the HTML part as it travels; 0 when there is none."""
    start = data.find(b"Content-Type: text/html")
    if start < 0:
        return 0
    end = data.find(b"\r\n--", start)
    return (len(data) if end < 0 else end) - start


def worded(fault: Fault) -> str:
    """One line for the report of invalid rows."""
    place = ", ".join(
        part for part in (fault.file, f"line {fault.line}" if fault.line is not None else "") if part
    )
    return f"{place}: {fault.message}" if place else fault.message
