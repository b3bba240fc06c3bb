"""The people of an earlier campaign, as recipients or as those who are left out.

``campaign:ID`` is everybody in it, ``campaign:ID?state=accepted&outcome=delivered`` a part; several states
or outcomes are separated by commas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

from mailer.errors import CampaignError
from mailer.ledger.contract import Campaign, CampaignState, Result
from mailer.ledger.ledger import Ledger
from mailer.message import WAITING, State

PREFIX = "campaign:"
#: What may still change in these states is not a list of people yet.
_MOVING = (CampaignState.OPENING, CampaignState.SCHEDULED, CampaignState.RUNNING)


class Part(NamedTuple):
    """Which rows of which campaign; without states and outcomes all of them."""

    reference: str
    states: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()

    def holds(self, row: Result) -> bool:
        return (not self.states or row.state in self.states) and (
            not self.outcomes or row.outcome in self.outcomes
        )


def part(text: str) -> Part:
    """Raises CampaignError that shows the form."""
    reference, _, query = text.removeprefix(PREFIX).partition("?")
    given: dict[str, frozenset[str]] = {"state": frozenset(), "outcome": frozenset()}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in given:
            raise CampaignError(f"{text}: unknown {key!r}", hint=_FORM)
        given[key] |= {one.strip() for one in value.split(",")}
    wrong = given["state"] - set(map(str, State))
    if wrong or not reference:
        what = f"no state {min(wrong)!r}; there are {', '.join(State)}" if wrong else "which campaign?"
        raise CampaignError(f"{text}: {what}", hint=_FORM)
    return Part(reference, given["state"], given["outcome"])


_FORM = 'Write it like "campaign:november-newsletter-7f3a?state=accepted".'


def check_has_list(campaign: Campaign) -> None:
    """Raises CampaignError for one of single messages."""
    if campaign.spec.get("letters"):
        raise CampaignError(
            f"{campaign.slug} has no list: an application hands over its messages one by one",
            hint="Its recipients, content and templates are the application's.",
        )


def found(ledger: Ledger, wish: Part) -> Campaign:
    """The campaign that is meant. Raises InputError, and CampaignError while its states still change."""
    campaign = ledger.campaigns.get(wish.reference)
    if campaign.pruned_at is not None:
        raise CampaignError(f"the recipients of {campaign.slug} were removed by `mailer prune`")
    if campaign.state is CampaignState.OPENING or (wish.states and campaign.state in _MOVING):
        raise CampaignError(
            f"{campaign.slug} is {campaign.state}: who is in which state may still change",
            hint=f"Wait until it has ended, or stop it: mailer pause {campaign.slug} --wait",
        )
    return campaign


@dataclass(frozen=True)
class Rows:
    """Rows of a campaign in place of a recipients file: implements ``recipients.contract.Table``.

    ``identity`` is that of the question, not of the answer: asked again, it is the same campaign that is
    gone on with, whoever has become what meanwhile (I6).
    """

    ledger: Ledger
    campaign: Campaign
    wanted: Callable[[Result], bool]
    identity: str = ""
    header_line: int = 1

    @property
    def headers(self) -> Sequence[str]:
        headers: list[str] = self.campaign.spec["recipients"]["headers"]
        return headers

    @property
    def described(self) -> str:
        return f"from {self.campaign.slug}"

    def rows(self) -> Iterator[tuple[int, Sequence[str], str | None]]:
        for row in self.results():
            cells = json.loads(row.cells)
            yield row.line, tuple(cells.get(header, "") for header in self.headers), None

    def results(self) -> Iterator[Result]:
        return filter(self.wanted, self.ledger.results.rows(self.campaign.id))


@dataclass(frozen=True)
class LeftOut:
    """Addresses of a campaign that get nothing; ``text`` is how the campaign file calls them."""

    rows: Rows
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def identity(self) -> str:
        return self.rows.identity

    def keys(self) -> Iterator[str]:
        """As ``Address.key``."""
        for row in self.rows.results():
            yield row.address.casefold()


def rows(ledger: Ledger, text: str) -> Rows:
    """What ``recipients = "campaign:…"`` means. Raises CampaignError and InputError."""
    own = _rows(ledger, text)
    check_has_list(own.campaign)
    return own


def _rows(ledger: Ledger, text: str) -> Rows:
    wish = part(text)
    campaign = found(ledger, wish)
    asked = [campaign.digest, sorted(wish.states), sorted(wish.outcomes)]
    identity = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return Rows(ledger, campaign, wish.holds, identity)


def left_out(ledger: Ledger, text: str) -> LeftOut:
    """What ``exclude = ["campaign:…"]`` means."""
    return LeftOut(_rows(ledger, text), text)


def remaining(ledger: Ledger, campaign: Campaign) -> Rows:
    """Those that have not been sent yet."""
    return Rows(ledger, campaign, lambda row: row.state in WAITING)
