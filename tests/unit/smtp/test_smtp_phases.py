"""Every phase and every way to fail in it: what that leaves."""

from __future__ import annotations

import pytest

from mailer.errors import BackendUnusable
from mailer.message import Accepted, Blocked, Deferred, Outcome, Phase, Rejected, Unknown
from tests.idle_time import in_idle_time
from tests.unit.smtp.scripted import DROP, HANG, Act, Marks, Visit, backend_for, gone, message, serving

LARGE = b"Subject: large\r\n\r\n" + (b"y" * 70 + b"\r\n") * 100_000

FAULTS = {
    "drop": DROP,
    "reset": Act(reset=True),
    "4xx": Act("451 4.3.0 later"),
    "5xx": Act("550 5.5.0 no"),
    "421": gone("421 4.3.2 going away"),
    "silence": HANG,
    "garbage": gone("hello there"),
    "half a reply": gone("250-and"),
}

#: phase, fault -> outcome.
LOST = ("drop", "reset", "silence", "garbage", "half a reply")
EXPECTED: dict[str, dict[str, type[Outcome]]] = {
    "MAIL": {"4xx": Deferred, "5xx": Blocked, "421": Deferred} | dict.fromkeys(LOST, Deferred),
    "RCPT": {"4xx": Deferred, "5xx": Rejected, "421": Deferred} | dict.fromkeys(LOST, Deferred),
    "DATA": {"4xx": Deferred, "5xx": Rejected, "421": Deferred} | dict.fromkeys(LOST, Deferred),
    "BODY": {"4xx": Deferred, "5xx": Rejected, "421": Deferred} | dict.fromkeys(LOST, Deferred),
    "DOT": {"4xx": Deferred, "5xx": Rejected, "421": Deferred} | dict.fromkeys(LOST, Unknown),
}
CASES = [(phase, fault) for phase in EXPECTED for fault in FAULTS]
SLOW = {("MAIL", "421"), ("RCPT", "421"), ("DATA", "421"), ("BODY", "421"), ("DOT", "421")}


def failing(phase: str, fault: str, *, from_visit: int = 0, to_visit: int = 9, after: int = 0):
    """Fail at this step, on these connections, once so many messages were stored there."""

    def script(step: str, visit: Visit) -> Act | None:
        if step == phase and from_visit <= visit.number <= to_visit and visit.stored >= after:
            act = FAULTS[fault]
            # Before the end of the body a server that goes on reading would be out of step.
            return Act(act.reply, close=True) if phase == "BODY" and fault in ("4xx", "5xx") else act
        return None

    return script


@pytest.mark.parametrize("pipelining", ["on", "off"])
@pytest.mark.parametrize(("phase", "fault"), CASES)
@in_idle_time
async def test_a_fault_on_a_fresh_connection(phase: str, fault: str, pipelining: str) -> None:
    data = LARGE if phase == "BODY" else message().data
    async with (
        serving(failing(phase, fault)) as server,
        backend_for(server, pipelining=pipelining) as backend,
    ):
        marks = Marks()
        (outcome,) = await backend.send([message(1, data=data)], marks)

    assert type(outcome) is EXPECTED[phase][fault]
    assert outcome.reply.phase is not None
    assert outcome.reply.reason
    assert server.stored == []
    assert marks.asked == ([1] if phase in ("BODY", "DOT") else [])
    if isinstance(outcome, Deferred):
        assert outcome.slow_down is ((phase, fault) in SLOW)


@pytest.mark.parametrize("pipelining", ["on", "off"])
@pytest.mark.parametrize(("phase", "fault"), [case for case in CASES if case[0] != "BODY"])
@in_idle_time
async def test_a_fault_on_a_connection_that_worked_is_the_messages_own(
    phase: str, fault: str, pipelining: str
) -> None:
    """The second message meets it; the first stays accepted and the third is not drawn in."""
    sends_again = phase != "DOT" and fault in ("drop", "reset", "421", "garbage", "half a reply")

    def script(step: str, visit: Visit) -> Act | None:
        second = "2@" in visit.asked or any("user2" in to for to in visit.recipients)
        return failing(phase, fault, to_visit=0, after=1)(step, visit) if second else None

    async with (
        serving(script) as server,
        backend_for(server, pipelining=pipelining) as backend,
    ):
        outcomes = await backend.send([message(1), message(2), message(3)], Marks())

    first, second, third = outcomes
    assert isinstance(first, Accepted)
    assert isinstance(third, Accepted)
    assert type(second) is (Accepted if sends_again else EXPECTED[phase][fault])
    assert [server.copies(f"user{n}@test.example") for n in (1, 2, 3)] == [1, int(sends_again), 1]


@pytest.mark.parametrize("fault", FAULTS)
@in_idle_time
async def test_what_rode_behind_a_lost_message_goes_out_on_a_fresh_connection(fault: str) -> None:
    """Its envelope was on the wire, its body was not: provably unsent, so it costs no attempt."""

    def script(step: str, visit: Visit) -> Act | None:
        return FAULTS[fault] if step == "DOT" and "user1" in visit.recipients[0] else None

    async with serving(script) as server, backend_for(server) as backend:
        first, second = await backend.send([message(1), message(2)], Marks())

    assert type(first) is EXPECTED["DOT"][fault]
    assert isinstance(second, Accepted)
    assert server.copies("user2@test.example") == 1


@in_idle_time
async def test_a_retry_on_a_fresh_connection_happens_once() -> None:
    def script(step: str, visit: Visit) -> Act | None:
        return DROP if step == "RCPT" and "user2" in visit.asked else None

    async with serving(script) as server, backend_for(server) as backend:
        first, second = await backend.send([message(1), message(2)], Marks())

    assert isinstance(first, Accepted)
    assert isinstance(second, Deferred)
    assert len(server.visits) == 2


OPENING = [
    ("CONNECT", "drop", False),
    ("CONNECT", "4xx", False),
    ("CONNECT", "5xx", False),
    ("CONNECT", "421", False),
    ("CONNECT", "silence", False),
    ("EHLO", "drop", False),
    ("EHLO", "4xx", False),
    ("EHLO", "5xx", False),
    ("EHLO", "421", False),
    ("EHLO", "silence", False),
    ("AUTH", "drop", False),
    ("AUTH", "4xx", False),
    ("AUTH", "5xx", True),
    ("AUTH", "421", False),
    ("AUTH", "silence", False),
]


@pytest.mark.parametrize(("phase", "fault", "lasting"), OPENING)
@in_idle_time
async def test_no_connection_means_nothing_was_sent(phase: str, fault: str, lasting: bool) -> None:
    server_options = {"extensions": ("PIPELINING", "AUTH PLAIN")}
    async with (
        serving(failing(phase, fault), **server_options) as server,
        backend_for(server, user="me", password="secret") as backend,
    ):
        with pytest.raises(BackendUnusable) as caught:
            await backend.send([message(1), message(2)], Marks())

    assert caught.value.lasting is lasting
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "lasting"),
    [
        ("554 5.7.1 blocked using zen.spamhaus.org", True),
        ("554 no SMTP service here", False),
        ("521 does not accept mail", False),
    ],
)
@in_idle_time
async def test_a_greeting_that_refuses(text: str, lasting: bool) -> None:
    async with (
        serving(lambda step, _: gone(text) if step == "CONNECT" else None) as server,
        backend_for(server) as backend,
    ):
        with pytest.raises(BackendUnusable) as caught:
            await backend.send([message()], Marks())

    assert caught.value.lasting is lasting


@pytest.mark.parametrize(
    ("text", "kind"),
    [("421 4.3.2 shutting down", Deferred), ("554 5.6.0 no", Rejected), ("250 2.0.0 ok", Accepted)],
)
@in_idle_time
async def test_a_definite_reply_counts_even_when_the_server_then_closes(text: str, kind: type) -> None:
    def script(step: str, visit: Visit) -> Act | None:
        return Act(text, close=True, store=text.startswith("2")) if step == "DOT" else None

    async with serving(script) as server, backend_for(server) as backend:
        (outcome,) = await backend.send([message()], Marks())

    assert type(outcome) is kind
    assert outcome.reply.phase is Phase.DOT
