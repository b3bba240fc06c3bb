"""What goes over the wire for one message and for several, and what their replies do to each other."""

from __future__ import annotations

import asyncio

import pytest

from mailer.message import Accepted, Blocked, Deferred, Dsn, Fenced, Outcome, Phase, Rejected, Unknown
from tests.idle_time import in_idle_time
from tests.unit.smtp.scripted import (
    BODY,
    DROP,
    Act,
    Marks,
    Script,
    Visit,
    backend_for,
    gone,
    message,
    serving,
)

A, B, C = "a@one.example", "b@two.example", "c@three.example"


def at(step: str, needle: str, act: Act) -> Script:
    """Do this at one step, when its argument or the envelope holds this text."""

    def script(now: str, visit: Visit) -> Act | None:
        return act if now == step and (needle in visit.asked or needle in "".join(visit.recipients)) else None

    return script


async def send(
    script: Script, *messages: object, marks: Marks | None = None, **options: str
) -> tuple[Outcome, ...]:
    async with serving(script) as server, backend_for(server, **options) as backend:
        outcomes = await backend.send(list(messages), marks or Marks())
        send.server = server
    return tuple(outcomes)


def good(step: str, visit: Visit) -> None:
    return None


async def test_the_next_envelope_rides_behind_the_body() -> None:
    """One connection, steady state: every message costs one round trip."""
    async with serving() as server, backend_for(server) as backend:
        outcomes = await backend.send([message(n) for n in range(3)], Marks())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert [to for _, (to,), _ in server.stored] == [f"user{n}@test.example" for n in range(3)]
    assert all(data == BODY for _, _, data in server.stored)
    first, second = (
        server.received.index(b".\r\nMAIL FROM:<from1"),
        server.received.index(b"MAIL FROM:<from2"),
    )
    assert first < second
    assert len(server.visits) == 1


async def test_references_and_order_are_kept() -> None:
    outcomes = await send(good, *(message(n) for n in range(5)))

    assert [outcome.reference for outcome in outcomes] == ["00001", "00002", "00003", "00004", "00005"]


async def test_the_mark_comes_after_the_354_and_before_the_body() -> None:
    seen: list[str] = []
    async with serving() as server, backend_for(server) as backend:

        async def mark(outgoing: object) -> bool:
            seen.append(server.log[-1])
            assert b"One line." not in server.received
            return True

        await backend.send([message()], mark)

    assert seen == ["DATA"]


@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_a_lost_lease_never_sends_a_body(pipelining: str) -> None:
    async with serving() as server, backend_for(server, pipelining=pipelining) as backend:
        outcomes = await backend.send([message(n) for n in range(4)], Marks(1, 2))

    assert [type(outcome) for outcome in outcomes] == [Accepted, Fenced, Fenced, Accepted]
    assert [to for _, (to,), _ in server.stored] == ["user0@test.example", "user3@test.example"]


async def test_many_lost_leases_of_one_batch_cost_one_connection() -> None:
    async with serving() as server, backend_for(server) as backend:
        outcomes = await backend.send([message(n) for n in range(50)], Marks(*range(10, 50)))

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 10 + [Fenced] * 40
    assert len(server.visits) == 2


async def test_a_mark_that_fails_sends_nothing() -> None:
    async def mark(outgoing: object) -> bool:
        raise RuntimeError("the ledger is full")

    async with serving() as server, backend_for(server) as backend:
        (outcome,) = await backend.send([message()], mark)

    assert isinstance(outcome, Deferred)
    assert server.stored == []


@in_idle_time
async def test_a_server_that_goes_while_the_mark_is_made_gets_no_body() -> None:
    script = at("DATA", "user1", gone("354 go on"))
    async with serving(script) as server, backend_for(server) as backend:

        async def mark(outgoing: object) -> bool:
            await asyncio.sleep(0.1)
            return True

        (outcome,) = await backend.send([message(1)], mark)

    assert isinstance(outcome, Deferred)
    assert outcome.reply.phase is Phase.DATA
    assert b"One line." not in server.received


# --- refusals do not shift their neighbours ------------------------------------------------------


@pytest.mark.parametrize("pipelining", ["on", "off"])
@pytest.mark.parametrize(
    ("step", "reply", "kind"),
    [
        ("MAIL", "550 5.7.1 sender not wanted", Blocked),
        ("MAIL", "451 4.3.0 later", Deferred),
        ("RCPT", "550 5.1.1 nobody", Rejected),
        ("RCPT", "450-4.2.0 line one\n450 4.2.0 line two", Deferred),
        ("DATA", "451 4.3.0 later", Deferred),
        ("DOT", "554 5.6.0 no", Rejected),
    ],
)
async def test_one_refusal_among_many(step: str, reply: str, kind: type, pipelining: str) -> None:
    def script(now: str, visit: Visit) -> Act | None:
        mine = "2@" in visit.asked or "user2@test.example" in visit.recipients
        return Act(reply) if now == step and mine else None

    async with serving(script) as server, backend_for(server, pipelining=pipelining) as backend:
        outcomes = await backend.send([message(n) for n in range(5)], Marks())

    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, kind, Accepted, Accepted]
    assert [to for _, (to,), _ in server.stored] == [f"user{n}@test.example" for n in (0, 1, 3, 4)]
    assert len(server.visits) == 1


async def test_a_354_although_the_recipient_was_refused_gets_a_lone_dot() -> None:
    def script(step: str, visit: Visit) -> Act | None:
        if step == "RCPT" and "user1" in visit.asked:
            return Act("550 5.1.1 nobody")
        if step == "DATA" and not visit.recipients:
            return Act("354 go on all the same")
        return Act("554 5.5.1 no valid recipients") if step == "DOT" and not visit.recipients else None

    marks = Marks()
    async with serving(script) as server, backend_for(server) as backend:
        outcomes = await backend.send([message(0), message(1), message(2)], marks)

    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
    assert marks.asked == [0, 2]
    assert len(server.visits) == 1
    assert b"DATA\r\n.\r\n" in server.received


@pytest.mark.parametrize("chop", [1, 2, 7])
async def test_replies_in_pieces(chop: int) -> None:
    script = at("RCPT", "user1", Act("550-5.1.1 no\n550 5.1.1 body"))
    async with serving(script, chop=chop) as server, backend_for(server) as backend:
        outcomes = await backend.send([message(n) for n in range(3)], Marks())

    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
    assert outcomes[1].reply.text == "no body"


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "DOT", "RSET"])
@pytest.mark.parametrize("extra", ["250 and another", "550 5.1.1 and another", "354 and another"])
@in_idle_time
async def test_a_reply_too_many_never_lets_a_message_go_twice_or_get_lost(step: str, extra: str) -> None:
    """The session is closed as soon as it shows, and outcomes still tell what the server has."""
    usual = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", "DOT": "250 ok", "RSET": "250 ok"}[step]

    def script(now: str, visit: Visit) -> Act | None:
        if now == "RCPT" and "user2@" in visit.asked and step == "RSET":
            return Act("450 no")
        return (
            Act(f"{usual}\n{extra}", store=True)
            if now == step and visit.number == 0 and visit.stored == 1
            else None
        )

    async with serving(script) as server, backend_for(server) as backend:
        outcomes = await backend.send([message(n) for n in range(5)], Marks())

    for n, outcome in enumerate(outcomes):
        copies = server.copies(f"user{n}@test.example")
        assert copies <= 1
        if isinstance(outcome, Accepted):
            assert copies == 1
        elif not isinstance(outcome, Unknown):
            assert copies == 0


async def test_without_pipelining_one_command_at_a_time() -> None:
    async with serving(extensions=("SIZE",)) as server, backend_for(server) as backend:
        outcomes = await backend.send([message(0), message(1)], Marks())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert b"\r\nMAIL FROM:<from0@sender.example> SIZE=" in server.received


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_copies_go_in_one_transaction(pipelining: str) -> None:
    (outcome,) = await send(good, message(1, A, B, C), pipelining=pipelining)

    assert isinstance(outcome, Accepted)
    assert outcome.refused_copies == ()
    assert [recipients for _, recipients, _ in send.server.stored] == [(A, B, C)]


@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_the_first_recipient_decides(pipelining: str) -> None:
    script = at("RCPT", A, Act("550 5.1.1 nobody"))
    outcomes = await send(script, message(1, A, B, C), message(2), pipelining=pipelining)

    assert isinstance(outcomes[0], Rejected)
    assert outcomes[0].suppress
    assert isinstance(outcomes[1], Accepted)
    assert send.server.copies(B) == 0
    assert len(send.server.visits) == 1


@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_a_copy_refused_for_good_is_listed(pipelining: str) -> None:
    outcomes = await send(
        at("RCPT", B, Act("550 5.1.1 nobody")), message(1, A, B, C), message(2), pipelining=pipelining
    )

    ((address, reply),) = outcomes[0].refused_copies
    assert (address, reply.code, reply.enhanced) == (B, 550, "5.1.1")
    assert send.server.copies(A) == send.server.copies(C) == 1
    assert isinstance(outcomes[1], Accepted)


async def test_a_copy_refused_for_now_holds_the_message_up_twice() -> None:
    script = at("RCPT", B, Act("450 4.2.0 later"))
    outcomes = await send(script, message(1, A, B), message(2, A, B, attempt=2), message(3, A, B, attempt=3))

    assert [type(outcome) for outcome in outcomes] == [Deferred, Deferred, Accepted]
    assert [address for address, _ in outcomes[2].refused_copies] == [B]
    assert send.server.copies(A) == 1
    assert send.server.copies(B) == 0


@pytest.mark.parametrize("refusal", ["452 4.5.3 too many recipients", "552 too many recipients"])
@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_too_many_recipients_go_in_further_transactions(refusal: str, pipelining: str) -> None:
    people = [f"p{n}@x.example" for n in range(7)]

    def script(step: str, visit: Visit) -> Act | None:
        return Act(refusal) if step == "RCPT" and len(visit.recipients) >= 3 else None

    marks = Marks()
    outcomes = await send(script, message(1, *people), message(2), marks=marks, pipelining=pipelining)

    assert outcomes[0] == Accepted(outcomes[0].reply, outcomes[0].reference)
    assert [recipients for _, recipients, _ in send.server.stored[:3]] == [
        tuple(people[:3]),
        tuple(people[3:6]),
        tuple(people[6:]),
    ]
    assert marks.asked == [1, 2]
    assert isinstance(outcomes[1], Accepted)


@pytest.mark.parametrize(
    ("step", "act"),
    [
        ("MAIL", Act("451 4.3.0 later")),
        ("RCPT", Act("452 4.5.3 still too many")),
        ("RCPT", DROP),
        ("DATA", Act("451 4.3.0 later")),
        ("DOT", Act("554 5.6.0 no")),
        ("DOT", DROP),
    ],
)
async def test_a_further_transaction_that_fails_costs_only_the_copies(step: str, act: Act) -> None:
    def script(now: str, visit: Visit) -> Act | None:
        if visit.stored and visit.number == 0 and now == step and "from1" in (visit.sender or visit.asked):
            return act
        return Act("452 4.5.3 too many") if now == "RCPT" and visit.recipients else None

    outcomes = await send(script, message(1, A, B, C), message(2))

    assert isinstance(outcomes[0], Accepted)
    assert sorted(address for address, _ in outcomes[0].refused_copies) == [B, C]
    assert isinstance(outcomes[1], Accepted)
    assert send.server.copies(A) == 1
    assert send.server.copies(B) == 0


# --- parameters ----------------------------------------------------------------------------------


async def test_parameters_only_when_needed_and_offered() -> None:
    dsn = Dsn(notify=("FAILURE", "DELAY"), ret="HDRS", envid="a+b=c d")
    outcomes = await send(
        good,
        message(1),
        message(2, eight_bit=True, dsn=dsn),
        message(3, "grüße@test.example", smtputf8=True),
    )

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    mails = [line for line in send.server.log if line.startswith("MAIL")]
    size = f"SIZE={len(BODY)}"
    assert mails == [
        f"MAIL FROM:<from1@sender.example> {size}",
        f"MAIL FROM:<from2@sender.example> {size} BODY=8BITMIME RET=HDRS ENVID=a+2Bb+3Dc+20d",
        f"MAIL FROM:<from3@sender.example> {size} SMTPUTF8",
    ]
    assert (
        "RCPT TO:<user2@test.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;user2@test.example" in send.server.log
    )
    assert "RCPT TO:<grüße@test.example>" in send.server.log


async def test_nothing_is_offered_so_nothing_is_used() -> None:
    async with serving(extensions=()) as server, backend_for(server) as backend:
        outcomes = await backend.send(
            [
                message(1, dsn=Dsn(notify=("NEVER",))),
                message(2, eight_bit=True),
                message(3, "grüße@test.example", smtputf8=True),
                message(4),
            ],
            Marks(),
        )

    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Rejected, Accepted]
    assert "8BITMIME" in outcomes[1].reply.reason
    assert "quoted-printable" in outcomes[1].reply.reason  # what to do
    assert "SMTPUTF8" in outcomes[2].reply.reason
    assert "MAIL FROM:<from1@sender.example>" in server.log


@pytest.mark.parametrize(("offer", "option"), [("SIZE 1000", "0"), ("SIZE", "1000"), ("SIZE 5000", "1000")])
async def test_too_large_is_known_before_a_byte_is_sent(offer: str, option: str) -> None:
    async with (
        serving(extensions=(offer, "PIPELINING")) as server,
        backend_for(server, size=option) as backend,
    ):
        large, small = await backend.send([message(1, data=b"x" * 998 + b"\r\n" + BODY), message(2)], Marks())

    assert isinstance(large, Rejected)
    assert not large.suppress
    assert isinstance(small, Accepted)
    assert not any("from1" in line for line in server.log)


@pytest.mark.parametrize(
    "data",
    [
        b".\r\n",
        b".leading\r\nand\r\n..two\r\n.\r\n...\r\n",
        b"a\r\n.\r\nMAIL FROM:<x@y>\r\n",
        BODY + b"end\r\n.",
    ],
)
async def test_dots_arrive_as_they_were(data: bytes) -> None:
    data = data if data.endswith(b"\r\n") else data + b"\r\n"
    outcomes = await send(good, message(1, data=data), message(2))

    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]
    assert send.server.stored[0][2] == data


@pytest.mark.parametrize(
    "data",
    [b"a\n.\r\nMAIL", b"a\n.\nb\r\n", b"a\r.\rb\r\n", b"a\r\n.\rb\r\n", b"a\r\n.\nb\r\n", b"no end", b""],
)
async def test_a_body_that_could_end_early_is_never_written(data: bytes) -> None:
    (outcome,) = await send(good, message(1, data=data))

    assert isinstance(outcome, Rejected)
    assert not outcome.suppress
    assert send.server.stored == []


@pytest.mark.parametrize(
    "address",
    [
        "a@b.example\r\nRCPT TO:<evil@x.example>",
        "a@b.example> SIZE=1",
        "<a@b.example",
        "a b@c.example",
        "a\x00@b.example",
        "a\x7f@b.example",
        "a\u2028@b.example",
        "a\u00a0@b.example",
        "",
        "x" * 300 + "@b.example",
        "ü@b.example",
    ],
)
async def test_an_address_that_could_be_a_command_is_never_written(address: str) -> None:
    for number, case in enumerate((message(1, address), message(2, A, address))):
        (outcome,) = await send(good, case)
        assert isinstance(outcome, Rejected), number
        assert not outcome.suppress
        assert not any(line.startswith("RCPT") for line in send.server.log)


async def test_the_null_sender() -> None:
    bounce = message(1)
    bounce.sender = ""
    (outcome,) = await send(good, bounce)

    assert isinstance(outcome, Accepted)
    assert send.server.stored[0][0] == ""


async def test_a_large_body_arrives_whole() -> None:
    data = b"".join(b"%06d " % n + b"x" * 60 + b"\r\n" for n in range(8_000))
    outcomes = await send(good, message(1), message(2, data=data), message(3))

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert send.server.stored[1][2] == data
    assert len(send.server.visits) == 1
