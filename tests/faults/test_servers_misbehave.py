"""Whole campaigns against servers that refuse, stall and hang up: the ledger, beside what they took."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from mailer.backends.urls import parse
from mailer.delivery.runner import Reason, run_embedded
from mailer.ledger.contract import Runner
from mailer.message import State
from tests import delivering
from tests.contract.providers.fake import DROP, Response, serving
from tests.contract.providers.registry import ROLES
from tests.delivering import World
from tests.servers import PATIENCE

ROWS = 120
#: Tried again within a second: what is looked at here is not patience.
SOON = {"ceilings": [0.5], "floor_seconds": 0.1}


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.close()


def rule(**keys):
    """One rule of the sink."""
    return "[[rule]]\n" + "".join(f"{name} = {value!r}\n" for name, value in keys.items())


async def run(world, campaign, url):
    backend = parse("main", url, connections=4)
    return await asyncio.wait_for(run_embedded(world.url, campaign.id, backends={"main": backend}), PATIENCE)


#: Fault, what is injected, the sink's rule, and what must become of those whom it hits: as many as it counts.
RULES = [
    ("F17", "one answer in twenty to a final dot cut", rule(drop="after-dot", share=0.05), State.UNKNOWN),
    (
        "F18",
        "421 to one final dot in ten",
        rule(at="dot", share=0.1, times=1, reply="421 4.3.2 closing"),
        None,
    ),
    ("F18", "451 to one final dot in ten", rule(at="dot", share=0.1, times=1, reply="451 4.3.0 later"), None),
    (
        "F19",
        "554 to one final dot in ten",
        rule(at="dot", share=0.1, reply="554 5.6.0 not so"),
        State.REJECTED,
    ),
    (
        "F21",
        "421 for one destination of twenty",
        rule(at="rcpt", match="*@lane-0.example", times=1, reply="421 4.7.0 too many"),
        None,
    ),
    (
        "F22",
        "one final dot in ten answered half a second late",
        rule(at="dot", share=0.1, delay="500ms"),
        None,
    ),
    ("F25", "550 5.1.1 to one in ten", rule(at="rcpt", share=0.1, reply="550 5.1.1 who?"), State.REJECTED),
    ("F25", "451 4.7.1 to one in ten", rule(at="rcpt", share=0.1, times=1, reply="451 4.7.1 grey"), None),
]


@pytest.mark.parametrize(("fault", "injected", "rules", "end"), RULES, ids=[row[1] for row in RULES])
async def test_a_server_misbehaves_by_rule(world, mailer_sink, judge, fault, injected, rules, end):
    sink = mailer_sink(rules)
    campaign = world.campaign(ROWS, runner=Runner.EMBEDDED, lanes=20, retry=SOON)

    done = await run(world, campaign, sink.url)
    summary = sink.stop()
    hit = sum((*summary["refused"].values(), *summary["dropped"].values()))

    assert done.reason is Reason.FINISHED
    assert hit > 0 or fault == "F22"
    states = world.states(campaign)
    assert states.get(State.REJECTED, 0) == (hit if end is State.REJECTED else 0)
    assert states.get(State.UNKNOWN, 0) == (hit if end is State.UNKNOWN else 0)
    judge(
        fault,
        injected,
        states,
        Counter(sink.recipients()),
        rows=ROWS,
        window=hit if end is State.UNKNOWN else 0,
        refused=hit if end is State.REJECTED else 0,
    )


#: What the server shows at first: of which names its certificate is, and whether its time is over; None: it
#: offers no STARTTLS, or somebody between has taken that out.
SHOWN = {
    ("F26", "STARTTLS taken out of what the server offers"): None,
    ("F27", "a certificate of another host"): (("mail.other.example",), False),
    ("F27", "a certificate that has expired"): ((), True),
}


@pytest.mark.parametrize(("fault", "injected"), SHOWN, ids=[injected for _, injected in SHOWN])
async def test_nothing_is_said_to_a_server_that_proves_nothing(
    world, mailer_sink, certificate, tcp_proxy, judge, fault, injected
):
    """The campaign waits for a person; when the server is put right it goes to everybody."""

    def sink(shown):
        pair = {"certificate": str(shown.cert), "key": str(shown.key)} if shown else {}
        return mailer_sink(auth=True, starttls=bool(shown), **pair)

    mine, shown = certificate(), SHOWN[fault, injected]
    bad = certificate(*shown[0], expired=shown[1]) if shown else None
    wrong, right = sink(bad), sink(mine)
    proxy = tcp_proxy(wrong.port, record=True)
    campaign = world.campaign(20, runner=Runner.EMBEDDED)
    url = f"smtp://someone:s3cret-canary@localhost:{proxy.port}?ca_file="

    stopped = await run(world, campaign, f"{url}{(bad or mine).cert}")
    assert stopped.reason is Reason.PAUSED
    assert world.states(campaign) == {State.PENDING: 20}
    assert b"AUTH" not in proxy.up.seen
    assert b"MAIL FROM" not in proxy.up.seen
    proxy.target = right.port
    world.ledger.campaigns.resume(campaign.id)
    done = await run(world, campaign, f"{url}{mine.cert}")

    assert done.reason is Reason.FINISHED
    assert wrong.count() == 0
    judge(fault, injected, world.states(campaign), Counter(right.recipients()), rows=20)


async def test_f24_not_so_many_recipients_in_one_message(world, mailer_sink, judge, monkeypatch):
    """Those beyond the second are refused for now, and get theirs by themselves."""
    monkeypatch.setattr(
        delivering, "SPEC", replace(delivering.SPEC, cc=("c1@acme.example", "c2@acme.example"))
    )
    sink = mailer_sink(max_recipients=2)
    campaign = world.campaign(20, runner=Runner.EMBEDDED, retry=SOON)

    done = await run(world, campaign, sink.url)

    assert done.reason is Reason.FINISHED
    copies = Counter(sink.recipients())
    assert [copies.pop(f"c{n}@acme.example") for n in (1, 2)] == [20, 20]
    judge("F24", "452 4.5.3 to the third recipient of each message", world.states(campaign), copies, rows=20)


async def test_f28_a_provider_misbehaves(world, stack, judge):
    """An answer is lost, and asked for again under the same key. What is turned away then is in doubt."""
    fake = stack.enter_context(serving(ROLES["resend"].play))
    fake.script = [
        DROP,
        Response(429, {"name": "rate_limit_exceeded"}, {"retry-after": "1"}),
        Response(500, {"name": "application_error"}),
        Response(409, {"name": "concurrent_idempotent_requests"}),
    ]
    campaign = world.campaign(40, runner=Runner.EMBEDDED, retry=SOON)

    done = await run(world, campaign, ROLES["resend"].address(fake.base, "batch=1"))

    assert done.reason is Reason.FINISHED
    assert fake.script == []
    copies = Counter(who for one in fake.taken for who in one.recipients)
    judge(
        "F28",
        "a provider's answer cut, 429, 500 and 409",
        world.states(campaign),
        copies,
        rows=40,
        window=1,
    )
