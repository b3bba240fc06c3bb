"""What every fault is judged by: the server that took the mail, which knows nothing of our ledger.

``Verdict.of`` compares the two, ``hold`` asserts the rule of the house: nobody lost, nobody written to twice,
nobody called accepted who got nothing, and no more rows in doubt than the fault's own window.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mailer.message import State

#: A report's property that holds one verdict as JSON; ``conftest`` makes the table from these.
PROPERTY = "fault"
#: ``make faults`` sets it: campaigns as long as the matrix wants them. Else each is as short as can be.
WHOLE = bool(os.environ.get("WHOLE_FAULTS"))


@dataclass(frozen=True)
class Verdict:
    """One line of the table. ``window`` is how many rows may be in doubt; ``moves_after`` is the seconds
    from the end of the fault to the next message that arrived, or None where nothing stood still."""

    fault: str
    injected: str
    rows: int
    lost: int
    twice: int
    false: int
    unknown: int
    window: int
    moves_after: float | None = None

    @classmethod
    def of(
        cls,
        fault: str,
        injected: str,
        states: Mapping[State, int],
        copies: Counter[str],
        *,
        rows: int,
        window: int = 0,
        refused: int = 0,
        moves_after: float | None = None,
    ) -> Verdict:
        """``refused``: so many had to end as rejected."""
        unknown = states.get(State.UNKNOWN, 0)
        accepted = states.get(State.ACCEPTED, 0)
        return cls(
            fault,
            injected,
            rows,
            lost=rows - accepted - unknown - refused,
            twice=sum(n - 1 for n in copies.values()),
            false=max(0, accepted - len(copies)),
            unknown=unknown,
            window=window,
            moves_after=moves_after,
        )

    def hold(self) -> None:
        """Assert the rule."""
        assert (self.lost, self.twice, self.false) == (0, 0, 0), self
        assert self.unknown <= self.window, self

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def line(verdict: Mapping[str, object]) -> str:
    """One line of the Markdown table."""
    after = verdict["moves_after"]
    moved = "" if after is None else f"{after:.1f} s"
    return (
        f"| {verdict['fault']} | {verdict['injected']} | {verdict['rows']} | {verdict['lost']} |"
        f" {verdict['twice']} | {verdict['unknown']} (≤ {verdict['window']}) | {moved} |"
    )


HEAD = """| fault | injected | recipients | lost | twice | unknown | moves again after |
| --- | --- | --- | --- | --- | --- | --- |"""
