"""``kill -9`` at random moments, until the campaign is done: counted at the other side."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from mailer.ledger.contract import Campaign, CampaignState, Runner
from mailer.message import State
from tests.delivering import World
from tests.faults import embedded_run
from tests.faults.judging import WHOLE
from tests.forked import FORKED, orphan_ends
from tests.servers import SmtpSink

CONNECTIONS = 4


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


@dataclass
class Killer:
    """Runs a campaign again and again, and kills it when the sink has a few more messages; then the next
    one, should it be over before it was killed often enough."""

    world: World
    sink: SmtpSink
    rows: int
    processes: int
    kills: int = 0
    most_in_doubt: int = 0
    campaigns: list[Campaign] = field(default_factory=list)

    def open(self) -> None:
        """The next campaign."""
        address = f"person-{{n}}@campaign-{len(self.campaigns)}.example"
        self.campaigns.append(self.world.campaign(self.rows, runner=Runner.EMBEDDED, address=address))

    def run(self, more: int) -> None:
        """Until ``more`` messages have come, then ``kill -9``; or to the end, when that comes first."""
        count = self.sink.count() + more
        arguments = (
            self.world.url,
            str(self.campaigns[-1].id),
            self.sink.url,
            str(CONNECTIONS),
            str(self.processes),
        )
        run = FORKED.Process(target=orphan_ends, args=(embedded_run.main, *arguments))
        run.start()
        while run.is_alive() and self.sink.count() <= count:
            time.sleep(0.005)
        run.kill()
        run.join()
        self.kills += run.exitcode == -signal.SIGKILL
        in_doubt = self.world.states(self.campaigns[-1]).get(State.SENDING, 0)
        self.most_in_doubt = max(self.most_in_doubt, in_doubt)
        run.close()

    @property
    def over(self) -> bool:
        return self.world.now(self.campaigns[-1]).state is CampaignState.FINISHED

    def states(self) -> Counter[State]:
        """Of all rows of all campaigns."""
        return sum((Counter(self.world.states(campaign)) for campaign in self.campaigns), Counter())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "kills", "rows"), [(1, 20, 2500), (2, 4, 1500)] if WHOLE else [(1, 8, 800), (2, 3, 600)]
)
async def test_nothing_is_lost_and_nothing_is_sent_twice(world, smtp_sink, processes, kills, rows):
    sink, chance = smtp_sink(), random.Random(1)
    killer = Killer(world, sink, rows, processes)

    while killer.kills < kills:
        if not killer.campaigns or killer.over:
            killer.open()
        killer.run(chance.randrange(rows // (2 * kills)))
    while not killer.over:
        killer.run(rows)

    states, copies = killer.states(), Counter(sink.hear_out().recipients())
    everybody = rows * len(killer.campaigns)
    assert killer.kills >= kills
    assert set(states) <= {State.ACCEPTED, State.UNKNOWN}
    assert sum(states.values()) == everybody
    assert set(copies.values()) == {1}
    assert states[State.ACCEPTED] <= len(copies) <= everybody
    # On each connection one message that was marked, and whose answer did not come or was not written down.
    assert killer.most_in_doubt <= CONNECTIONS
    assert states.get(State.UNKNOWN, 0) <= killer.kills * CONNECTIONS
