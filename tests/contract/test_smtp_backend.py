"""The backend contract, over the real pool and an independent server, on both event loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import uvloop

from mailer.backends import connect, urls
from mailer.message import Accepted, Outcome, Outgoing
from tests.proxy import TcpProxy
from tests.servers import SmtpSink

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


def outgoing(number: int) -> Outgoing:
    data = b"From: <me@sender.example>\r\nSubject: n\r\n\r\n.dot\r\n" + b"y" * 990 + b"\r\n"
    return Outgoing(number, 1, "me@sender.example", (f"canary{number}@x.example",), data, f"<{number}@s>")


async def deliver(url: str, count: int, calls: int, **options: str) -> list[Outcome]:
    backend = connect(urls.parse("relay", url, connections=5, options=options))

    async def mark(_: Outgoing) -> bool:
        await asyncio.sleep(0)
        return True

    shares = [[outgoing(n) for n in range(call, count, calls)] for call in range(calls)]
    outcomes = await asyncio.gather(*(backend.send(share, mark) for share in shares))
    await backend.close()
    return [outcome for share in outcomes for outcome in share]


@pytest.mark.parametrize("loop", LOOPS)
def test_everything_arrives_once_and_unchanged(smtp_sink: Callable[..., SmtpSink], loop: str) -> None:
    sink = smtp_sink()
    outcomes = LOOPS[loop](deliver(sink.url, 500, 4))

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    messages = sink.messages()
    assert sorted(m.recipients[0] for m in messages) == sorted(f"canary{n}@x.example" for n in range(500))
    assert {m.data for m in messages} == {outgoing(0).data.replace(b"\r\n", b"\n")}


def test_pipelining_saves_round_trips(
    smtp_sink: Callable[..., SmtpSink], tcp_proxy: Callable[..., TcpProxy]
) -> None:
    """Counted, not timed: how many pieces the server gets, which is how often we waited for it."""
    sink = smtp_sink()
    pieces: dict[str, int] = {}
    for pipelining in ("on", "off"):
        proxy = tcp_proxy(sink.port, delay=0.005)
        before = asyncio.run(timed(proxy.url, pipelining))
        pieces[pipelining] = before

    assert pieces["off"] >= 3 * pieces["on"]


async def timed(url: str, pipelining: str) -> int:
    """Turns of waiting for a reply, over all sessions."""
    from mailer.backends.smtp.wire import Wire

    waits = 0
    original = Wire._wait

    async def counted(self: Wire, seconds: float) -> None:
        nonlocal waits
        waits += 1
        await original(self, seconds)

    Wire._wait = counted
    try:
        outcomes = await deliver(url, 100, 1, pipelining=pipelining)
    finally:
        Wire._wait = original
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    return waits


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_has_one_message_in_doubt(smtp_sink: Callable[..., SmtpSink], loop: str) -> None:
    """An answer is heard before the next message is marked, though its envelope rode behind the body."""
    assert LOOPS[loop](most_in_doubt(smtp_sink().url, connections=2)) == 2


async def most_in_doubt(url: str, connections: int) -> int:
    """Messages that were marked and whose outcome nobody had heard, at the worst moment."""
    backend = connect(urls.parse("relay", url, connections=connections))
    waiting, doubtful, most = list(range(300)), set[int](), 0

    async def mark(message: Outgoing) -> bool:
        nonlocal most
        doubtful.add(message.id)
        most = max(most, len(doubtful))
        return True

    async def worker() -> None:
        while waiting:
            number = waiting.pop()
            await backend.send([outgoing(number)], mark)
            doubtful.discard(number)

    await asyncio.gather(*(worker() for _ in range(2 * connections)))
    await backend.close()
    return most


def test_logs_hold_no_address_and_no_secret(
    smtp_sink: Callable[..., SmtpSink], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="mailer")
    for flags in ((), ("-f", "RCPT"), ("-q", "."), ("-r", "DATA")):
        asyncio.run(deliver(smtp_sink(*flags).url, 5, 1))

    assert "canary" not in caplog.text
    assert "sender.example" not in caplog.text
