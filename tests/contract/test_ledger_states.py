"""Two workers, a clock and a person at random, against a model of what must hold.

The model knows nothing of SQL: it is DESIGN's drawing of the states, and the invariants I2, I3 and I5.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mailer.errors import StateConflict
from mailer.ledger.contract import CampaignState, Recovery, Settlement, row_id
from mailer.message import FINAL, IN_FLIGHT, WAITING, State
from tests.faults.judging import WHOLE
from tests.ledgers import LEDGERS, postgresql

#: Thousands of commits are made here, and none has to survive a power cut.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
ROWS = 3
WORKERS = ("anna", "bert")
ORDINALS = st.integers(1, ROWS)
AGAIN = (State.FAILED, State.REJECTED, State.UNKNOWN)
HINTS = ({1, 2, 3}, {1, 2, 3}, {1}, {2, 3})
SETTLED = (State.PENDING, State.DEFERRED, State.DEFERRED, State.UNKNOWN, State.ACCEPTED, State.FAILED)
ACTS = (
    *("settle", "settle", "settle", "settle", "settle", "send", "send", "claim", "mark", "mark"),
    *("vanish", "sleep", "sleep", "recover", "heartbeat", "close", "abandon"),
    *("resume", "resume", "pause", "cancel", "retry", "finish"),
)


@dataclass
class Row:
    state: State = State.PENDING
    fence: int = 0
    attempts: int = 0
    due_at: float = 0.0
    doubt: bool = False  # an earlier try may have arrived

    @property
    def over(self) -> State:
        """What becomes of it when it waits, and is not sent any more."""
        return State.UNKNOWN if self.doubt else State.CANCELLED


@dataclass
class Claim:
    """A worker's memory; it outlives the lease, as a worker that was stopped for a while does."""

    worker: str
    fence: int
    ordinals: tuple[int, ...]
    until: float
    recovered: bool = False


class Ledger(RuleBasedStateMachine):
    kind = LEDGERS[0]

    @initialize(again=st.booleans())
    def start(self, again: bool) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY))
        self.book = self.stack.enter_context(type(self).kind(Path(folder)))
        self.again = again
        self.campaign = self.book.campaign(ROWS, spec={"on_unknown": "retry" if again else "hold"})
        self.state = CampaignState.RUNNING
        self.rows = {ordinal: Row() for ordinal in range(1, ROWS + 1)}
        self.claims: list[Claim] = []
        self.sent: dict[int, set[int]] = {ordinal: set() for ordinal in self.rows}

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(act=st.sampled_from(ACTS), data=st.data())
    def step(self, act: str, data: st.DataObject) -> None:
        """One rule for all: of many, Hypothesis leaves some out of each run, and every story needs claims."""
        getattr(self, act)(data)

    # What workers do.

    def claim(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(WORKERS))
        ordinals = data.draw(st.sampled_from(HINTS))
        now = self.book.clock.now
        expected = [
            ordinal
            for ordinal in sorted(ordinals)
            if self.rows[ordinal].state in WAITING
            and self.rows[ordinal].due_at <= now
            and self.state is CampaignState.RUNNING
        ]

        claimed = self.book.claim(self.campaign, *ordinals, worker=worker, seconds=10)

        assert [row.id for row in claimed.rows] == self.book.ids(self.campaign, *expected)
        assert [row.attempts for row in claimed.rows] == [self.rows[o].attempts for o in expected]
        if expected:
            assert all(claimed.fence > claim.fence for claim in self.claims)
            self.claims.append(Claim(worker, claimed.fence, tuple(expected), now + 10))
        for ordinal in expected:
            self.rows[ordinal].state, self.rows[ordinal].fence = State.CLAIMED, claimed.fence

    def mark(self, data: st.DataObject) -> None:
        self.mark_one(*self.some_claim(data))

    def send(self, data: st.DataObject) -> None:
        """What a worker does most of the time."""
        self.claim(data)
        for claim in self.claims[-1:]:
            for ordinal in claim.ordinals:
                self.mark_one(ordinal, claim)

    def mark_one(self, ordinal: int, claim: Claim) -> None:
        row = self.rows[ordinal]
        expected = (
            row.fence == claim.fence
            and row.state is State.CLAIMED
            and claim.until > self.book.clock.now
            and self.state is CampaignState.RUNNING
        )

        assert self.book.ledger.slices.mark([(self.id(ordinal), claim.fence)]) == [expected]
        if expected:
            # I2: nobody else may still be sending this row, unless the sender asked for that.
            assert not self.sent[ordinal] or self.again
            self.sent[ordinal].add(claim.fence)
            row.state = State.SENDING

    def settle(self, data: st.DataObject) -> None:
        ordinal, claim = self.some_claim(data)
        state, spent = data.draw(st.sampled_from(SETTLED)), data.draw(st.booleans())
        row = self.rows[ordinal]
        due_at = self.book.clock.now + data.draw(st.sampled_from([0.0, 5.0]))
        expected = row.fence == claim.fence and self.may_become(row, state, spent)

        settlement = Settlement(self.id(ordinal), claim.fence, state, due_at=due_at, spent=spent)
        assert self.book.ledger.slices.settle([settlement]) == [expected]

        if not expected:
            return
        row.attempts += spent and row.state is not State.UNKNOWN
        row.due_at = due_at
        row.doubt = row.doubt and not spent and state in WAITING
        cancelled = state in WAITING and self.state is CampaignState.CANCELLED
        row.state = row.over if cancelled else state
        if state is not State.UNKNOWN:
            self.sent[ordinal].discard(claim.fence)

    @staticmethod
    def may_become(row: Row, state: State, spent: bool) -> bool:
        if row.state is State.UNKNOWN:
            return spent
        if state is State.UNKNOWN:
            return row.state is State.SENDING or (row.state in IN_FLIGHT and row.doubt)
        return row.state in IN_FLIGHT

    def heartbeat(self, data: st.DataObject) -> None:
        _, claim = self.some_claim(data)
        self.book.ledger.slices.heartbeat([claim.fence], 10)
        if not claim.recovered and claim.until > self.book.clock.now:
            claim.until = self.book.clock.now + 10

    def close(self, data: st.DataObject) -> None:
        _, claim = self.some_claim(data)
        self.book.ledger.slices.close([claim.fence])
        if not self.held(claim):
            claim.recovered = True

    def abandon(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(WORKERS))
        self.book.ledger.slices.abandon(worker)
        for claim in self.claims:
            if claim.worker == worker:
                claim.until = 0.0

    # What time does.

    def sleep(self, data: st.DataObject) -> None:
        self.book.clock.sleep(data.draw(st.sampled_from([6.0, 11.0])))

    def vanish(self, data: st.DataObject) -> None:
        """Nobody gives a sign of life for longer than a lease lasts."""
        self.book.clock.sleep(11.0)
        self.recover(data)

    def recover(self, data: st.DataObject) -> None:
        over = [c for c in self.claims if not c.recovered and c.until <= self.book.clock.now]
        found: Counter[str] = Counter(leases=len(over))
        for claim in over:
            claim.recovered = True
            for ordinal in self.held(claim):
                found[self.lose(ordinal)] += 1

        assert self.book.ledger.slices.recover() == Recovery(**found)

    def lose(self, ordinal: int) -> str:
        row = self.rows[ordinal]
        row.due_at = self.book.clock.now
        cancelled = self.state is CampaignState.CANCELLED
        if row.state is State.CLAIMED:
            before = State.DEFERRED if row.attempts else State.PENDING
            row.state = row.over if cancelled else before
            return "returned"
        row.attempts += 1
        row.doubt = self.again and not cancelled
        if row.doubt:
            row.state = State.PENDING
            return "retried"
        row.state = State.UNKNOWN
        return "unknown"

    # What a person does.

    def pause(self, data: st.DataObject) -> None:
        if self.state in (CampaignState.FINISHED, CampaignState.CANCELLED):
            self.refused("pause", "by hand")
            return
        self.book.ledger.campaigns.pause(self.campaign.id, "by hand")
        self.state = CampaignState.PAUSED

    def resume(self, data: st.DataObject) -> None:
        if self.state is not CampaignState.PAUSED:
            self.refused("resume")
            return
        self.book.ledger.campaigns.resume(self.campaign.id)
        self.state = CampaignState.RUNNING

    def cancel(self, data: st.DataObject) -> None:
        if data.draw(st.sampled_from([True, True, False])):  # the end of every story, so it is told seldom
            return
        if self.state is CampaignState.FINISHED:
            self.refused("cancel")
            return
        self.book.ledger.campaigns.cancel(self.campaign.id)
        self.state = CampaignState.CANCELLED
        for row in self.rows.values():
            if row.state in WAITING:
                row.state = row.over

    def retry(self, data: st.DataObject) -> None:
        states = data.draw(st.sets(st.sampled_from(AGAIN), min_size=1))
        if self.state is CampaignState.CANCELLED:
            self.refused("retry", states)
            return
        chosen = [ordinal for ordinal, row in self.rows.items() if row.state in states]

        assert self.book.ledger.campaigns.retry(self.campaign.id, states).rows == len(chosen)

        for ordinal in chosen:
            row = self.rows[ordinal]
            row.state, row.attempts, row.due_at, row.doubt = State.PENDING, 0, 0.0, False
            self.sent[ordinal].clear()  # a person has decided
        if chosen and self.state is CampaignState.FINISHED:
            self.state = CampaignState.RUNNING

    def finish(self, data: st.DataObject) -> None:
        over = all(row.state in FINAL for row in self.rows.values())
        expected = over and self.state is CampaignState.RUNNING

        assert self.book.ledger.schedule.finish(self.campaign.id) == expected
        if expected:
            self.state = CampaignState.FINISHED

    # What must hold.

    @invariant()
    def every_row_is_in_one_state_and_the_tally_knows(self) -> None:
        if not hasattr(self, "book"):
            return
        found = self.book.rows(self.campaign)
        assert [(row.state, row.attempts) for row in found] == [
            (row.state, row.attempts) for row in self.rows.values()
        ]
        counts = self.book.ledger.campaigns.counts(self.campaign.id).states
        assert Counter({state: n for state, n in counts.items() if n}) == Counter(row.state for row in found)

    @invariant()
    def what_is_due_is_what_could_be_claimed(self) -> None:
        if not hasattr(self, "book"):
            return
        now = self.book.clock.now
        due = [o for o, row in self.rows.items() if row.state in WAITING and row.due_at <= now]
        found = self.book.ledger.schedule.due(self.campaign.id, None, 99)
        assert sorted(found) == self.book.ids(self.campaign, *due)

    # In short.

    def id(self, ordinal: int) -> int:
        return row_id(self.campaign.id, ordinal)

    def held(self, claim: Claim) -> list[int]:
        return [
            o for o in claim.ordinals if self.rows[o].fence == claim.fence and self.rows[o].state in IN_FLIGHT
        ]

    def some_claim(self, data: st.DataObject) -> tuple[int, Claim]:
        """A row with the claim that has it; now and then with an older one, or one that never was."""
        ordinal = data.draw(ORDINALS)
        own = [claim for claim in self.claims if claim.fence == self.rows[ordinal].fence]
        if own and data.draw(st.integers(0, 4)):
            return ordinal, own[0]
        nobody = Claim("nobody", 0, (), 0.0, recovered=True)
        return ordinal, data.draw(st.sampled_from([*self.claims, nobody]))

    def refused(self, action: str, *arguments: object) -> None:
        with pytest.raises(StateConflict):
            getattr(self.book.ledger.campaigns, action)(self.campaign.id, *arguments)


@pytest.mark.parametrize("kind", LEDGERS, ids=lambda kind: kind.__name__)
def test_the_ledger_agrees_with_the_model(kind):
    few = 12 if kind is postgresql else 40  # a step costs five times as much over a socket
    examples = 2 * few if WHOLE else few
    machine = type("Machine", (Ledger,), {"kind": staticmethod(kind)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=60, deadline=None)
    )
