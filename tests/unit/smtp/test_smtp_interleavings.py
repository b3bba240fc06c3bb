"""Whatever servers do to single messages over shared sessions, each message gets its own outcome."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.message import Accepted, Blocked, Deferred, Fenced, Rejected, Unknown
from tests.unit.smtp.scripted import DROP, Act, Marks, Visit, backend_for, gone, message, serving

#: What the server does to one message: at which step, how, and what may become of the message.
FATES: dict[str, tuple[str, Act | None, tuple[type, ...]]] = {
    "taken": ("", None, (Accepted,)),
    "mail 451": ("MAIL", Act("451 4.3.0 later"), (Deferred,)),
    "mail 550": ("MAIL", Act("550 5.7.1 no"), (Blocked,)),
    "mail 421": ("MAIL", gone("421 4.7.0 bye"), (Deferred,)),
    "mail gone": ("MAIL", DROP, (Deferred,)),
    "rcpt 450": ("RCPT", Act("450-4.2.0 not\n450 4.2.0 now"), (Deferred,)),
    "rcpt 550": ("RCPT", Act("550 5.1.1 nobody"), (Rejected,)),
    "rcpt 421": ("RCPT", Act("421 4.7.0 bye"), (Deferred,)),
    "rcpt gone": ("RCPT", DROP, (Deferred,)),
    "rcpt nonsense": ("RCPT", Act("what?"), (Deferred,)),
    "data 451": ("DATA", Act("451 4.3.0 later"), (Deferred,)),
    "data 554": ("DATA", Act("554 5.5.0 no"), (Rejected,)),
    "data gone": ("DATA", DROP, (Deferred,)),
    "354 and gone": ("DATA", gone("354 go on"), (Deferred, Unknown)),
    "dot 451": ("DOT", Act("451 4.3.0 later"), (Deferred,)),
    "dot 554": ("DOT", Act("554 5.6.0 no"), (Rejected,)),
    "dot 421": ("DOT", gone("421 4.3.2 bye"), (Deferred,)),
    "taken and gone": ("DOT", Act("250 2.0.0 taken", close=True, store=True), (Accepted,)),
    "taken in silence": ("DOT", Act(close=True, store=True), (Unknown,)),
    "dot gone": ("DOT", DROP, (Unknown,)),
    "dot nonsense": ("DOT", gone("hm"), (Unknown,)),
    "fenced": ("", None, (Fenced,)),
}


@settings(max_examples=200)
@given(
    fates=st.lists(st.sampled_from(sorted(FATES)), min_size=1, max_size=25),
    connections=st.integers(1, 4),
    calls=st.integers(1, 3),
    chop=st.sampled_from([0, 0, 3, 40]),
    pipelining=st.sampled_from(["on", "on", "off"]),
)
def test_each_message_gets_the_outcome_of_its_own_replies(
    fates: list[str], connections: int, calls: int, chop: int, pipelining: str
) -> None:
    asyncio.run(check(fates, connections, calls, chop, pipelining))


async def check(fates: list[str], connections: int, calls: int, chop: int, pipelining: str) -> None:
    def script(step: str, visit: Visit) -> Act | None:
        where = visit.asked if step in ("MAIL", "RCPT") else "".join(visit.recipients)
        digits = "".join(filter(str.isdigit, where.partition("@")[0]))
        if not digits or step not in ("MAIL", "RCPT", "DATA", "DOT"):
            return None
        fated, act, _ = FATES[fates[int(digits)]]
        return act if fated == step else None

    marks = Marks(*(n for n, fate in enumerate(fates) if fate == "fenced"))
    numbers = list(range(len(fates)))
    shares = [share for i in range(calls) if (share := numbers[i::calls])]
    async with (
        serving(script, chop=chop) as server,
        backend_for(server, connections=connections, pipelining=pipelining) as backend,
    ):
        results = await asyncio.gather(
            *(backend.send([message(n) for n in share], marks) for share in shares)
        )

    for share, outcomes in zip(shares, results, strict=True):
        for n, outcome in zip(share, outcomes, strict=True):
            copies = server.copies(f"user{n}@test.example")
            assert type(outcome) in FATES[fates[n]][2], (n, fates[n], outcome)
            assert copies == 1 if isinstance(outcome, Accepted) else copies <= isinstance(outcome, Unknown)
            assert marks.asked.count(n) <= 1
