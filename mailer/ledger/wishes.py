"""What tasks ask of the ledger, and how one transaction carries out many such wishes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from mailer.ledger.claiming import claim
from mailer.ledger.contract import Settlement, campaign_of
from mailer.ledger.held import Held, held
from mailer.ledger.marking import mark
from mailer.ledger.settling import is_plain, settle
from mailer.ledger.transaction import Transaction

_SEVERAL = ("mark", "settle")


@dataclass(slots=True, eq=False)
class Ask:
    """One caller's wish: ``what`` its kind needs, and ``answer``, a value or an exception. Marks and
    settlements have several of both."""

    kind: str
    what: Any
    future: asyncio.Future[Any]
    answer: Any = None

    @property
    def several(self) -> bool:
        return self.kind in _SEVERAL and len(self.what) > 1


def carry_out(tx: Transaction, asks: Sequence[Ask]) -> None:
    """Leaves its answer with each. Settlements first: what they give back may be claimed in this commit."""
    settling = [ask for ask in asks if ask.kind == "settle"]
    marking = [ask for ask in asks if ask.kind == "mark"]
    claims = [ask for ask in asks if ask.kind == "claim"]
    settlements: list[Settlement] = [one for ask in settling for one in ask.what]
    marks: list[tuple[int, int]] = [one for ask in marking for one in ask.what]
    rows = _held(tx, settlements, marks) if settlements or marks else {}
    if not claims and all(map(is_plain, settlements)):
        tx.only_write()
    if settlements:
        _share_out(settling, settle(tx, settlements, rows))
    if marks:
        _share_out(marking, mark(tx, marks, rows))
    for ask in claims:
        ask.answer = claim(tx, *ask.what)


def _held(
    tx: Transaction, settlements: Sequence[Settlement], marks: Sequence[tuple[int, int]]
) -> dict[int, Held]:
    pairs = [*((one.id, one.fence) for one in settlements), *marks]
    return held(tx, [id_ for id_, _ in pairs], {fence for _, fence in pairs})


def campaigns(ask: Ask) -> set[int]:
    """Those that it changes rows of."""
    if ask.kind == "settle":
        return {campaign_of(one.id) for one in ask.what}
    if ask.kind == "mark":
        return {campaign_of(id_) for id_, _ in ask.what}
    ids, *_ = ask.what
    return {campaign_of(ids[0]) if ids else 0}


def first(ask: Ask) -> int:
    """The first row of a mark or a settlement."""
    one = ask.what[0]
    return cast("int", one.id if ask.kind == "settle" else one[0])


def _share_out(asks: Sequence[Ask], answers: Sequence[bool]) -> None:
    rest = iter(answers)
    for ask in asks:
        ask.answer = list(islice(rest, len(ask.what)))


def note(asks: Sequence[Ask], answers: Sequence[Any]) -> None:
    """One answer for each."""
    for ask, answer in zip(asks, answers, strict=True):
        ask.answer = answer
