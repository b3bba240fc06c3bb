"""Postfix smtp-sink told to misbehave: our outcomes against its own record of what it took."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.backends import connect, urls
from mailer.errors import BackendUnusable
from mailer.message import Accepted, Blocked, Deferred, Outcome, Outgoing, Rejected, Unknown
from tests.forked import Forked
from tests.proxy import TcpProxy
from tests.servers import SmtpSink

Sink = Callable[..., SmtpSink]


def message(number: int) -> Outgoing:
    data = b"From: <me@sender.example>\r\nSubject: n\r\n\r\n" + b"A line of text.\r\n" * 20
    return Outgoing(number, 1, "me@sender.example", (f"user{number}@x.example",), data, f"<{number}@s>")


async def marked(_: Outgoing) -> bool:
    return True


async def send(url: str, count: int = 20, connections: int = 4, **options: str) -> list[Outcome]:
    backend = connect(urls.parse("sink", url, connections=connections, options=options))
    try:
        return list(await backend.send([message(n) for n in range(count)], marked))
    finally:
        await backend.close()


def kinds(outcomes: list[Outcome]) -> set[type]:
    return {type(outcome) for outcome in outcomes}


@pytest.mark.parametrize("flag", ["-q", "-Q", "-r", "-f"])
@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
async def test_a_sink_that_refuses_or_drops(smtp_sink: Sink, flag: str, command: str) -> None:
    sink = smtp_sink(flag, command)
    expected = {
        "-q": Unknown if command == "." else Deferred,
        "-Q": Deferred,
        "-r": Deferred,
        "-f": {"MAIL": Blocked, "RCPT": Rejected, "DATA": Rejected, ".": Rejected}[command],
    }[flag]

    assert kinds(await send(sink.url)) == {expected}
    assert command == "." or sink.count() == 0  # at the dot it refuses and keeps its file all the same


@pytest.mark.parametrize("flag", ["-q", "-Q", "-r", "-f"])
@pytest.mark.parametrize("command", ["CONNECT", "EHLO"])
async def test_a_sink_that_nobody_gets_into(smtp_sink: Sink, flag: str, command: str) -> None:
    sink = smtp_sink(flag, command)
    if (flag, command) == ("-f", "EHLO"):  # 500: an old server, so HELO is tried
        assert kinds(await send(sink.url)) == {Accepted}
        return
    with pytest.raises(BackendUnusable) as caught:
        await send(sink.url)
    assert not caught.value.lasting


@pytest.mark.parametrize("options", [(), ("-p",), ("-e",), ("-a", "-8")])
@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_everything_arrives_once(smtp_sink: Sink, options: tuple[str, ...], pipelining: str) -> None:
    """-p hides PIPELINING, -e hides ESMTP, -a the greeting that names it, -8 8BITMIME."""
    sink = smtp_sink(*options)

    assert kinds(await send(sink.url, 300, pipelining=pipelining)) == {Accepted}
    assert sorted(sink.recipients()) == sorted(f"user{n}@x.example" for n in range(300))


async def test_a_sink_that_refuses_after_the_first_octets(smtp_sink: Sink) -> None:
    """-A: 550 after DATA, and nothing more is read."""
    sink = smtp_sink("-A", "0")
    outcomes = await send(sink.url, 4)

    assert kinds(outcomes) == {Rejected}
    assert sink.count() == 0


async def test_slow_dots_time_nothing_out(smtp_sink: Sink) -> None:
    sink = smtp_sink("-W", ".:1:30")

    assert kinds(await send(sink.url, 12)) == {Accepted}
    assert sink.count() == 12


async def test_a_sink_that_hangs_before_the_dot_is_answered(smtp_sink: Sink) -> None:
    sink = smtp_sink("-W", ".:60")
    outcomes = await send(sink.url, 4, timeout_dot="500ms")

    assert kinds(outcomes) == {Unknown}


@pytest.mark.parametrize("let_pass", [True, False])
async def test_only_messages_whose_dot_was_cut_are_unknown(
    smtp_sink: Sink, tcp_proxy: Callable[..., TcpProxy], let_pass: bool
) -> None:
    """From the seventh final dot on each one breaks its connection, before or after it passed (F17)."""
    sink = smtp_sink()
    proxy = tcp_proxy(sink.port)
    proxy.up.cut_at, proxy.up.let_pass, proxy.up.matches = b"\r\n.\r\n", let_pass, 7
    outcomes = await send(proxy.url, 20)

    unknown = {f"user{n}@x.example" for n, outcome in enumerate(outcomes) if isinstance(outcome, Unknown)}
    taken = {f"user{n}@x.example" for n, outcome in enumerate(outcomes) if isinstance(outcome, Accepted)}
    assert kinds(outcomes) == {Accepted, Unknown}
    received = sink.recipients()
    assert len(received) == len(set(received))
    assert taken <= set(received) <= taken | unknown


@pytest.mark.parametrize("command", ["MAIL:1", "RCPT:1", "DATA:1", ".:1"])
async def test_a_server_that_answers_out_of_order(smtp_sink: Sink, command: str) -> None:
    """smtp-sink -W answers what came behind the slow command first. It costs time, never a message."""
    sink = smtp_sink("-W", command)
    outcomes = await send(sink.url, 6, 2)

    assert kinds(outcomes) == {Accepted}
    assert sorted(sink.recipients()) == sorted(f"user{n}@x.example" for n in range(6))


DATA = b"From: <me@sender.example>\r\nSubject: n\r\n\r\nText.\r\n"


async def send_in_pairs(url: str, record: Path) -> None:
    """Notes each mark and each outcome."""
    backend = connect(urls.parse("sink", url, connections=1))

    def note(line: str) -> None:
        with record.open("a") as file:
            file.write(f"{line}\n")

    async def mark(message: Outgoing) -> bool:
        note(f"marked {message.id}")
        return True

    for n in range(4):
        ids = (2 * n, 2 * n + 1)
        batch = [Outgoing(i, 1, "me@s.example", (f"u{i}@x.example",), DATA, "<m@s>") for i in ids]
        for message, outcome in zip(batch, await backend.send(batch, mark), strict=True):
            note(f"settled {message.id} {type(outcome).__name__}")
    await backend.close()


def crash(url: str, record: Path, loop: str) -> None:
    """The whole of a process: it dies where MAILER_CRASH_AT says."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(send_in_pairs(url, record))
    else:
        asyncio.run(send_in_pairs(url, record))


#: Point, its third passage: the messages that are marked by then, and how many the sink has.
CRASHES = {
    "before_connect:1": ([], 0, 0),
    "after_connect:1": ([], 0, 0),
    "before_envelope:3": ([0, 1], 2, 2),
    "after_envelope:3": ([0, 1], 2, 2),
    "before_mark:3": ([0, 1], 2, 2),
    "after_mark:3": ([0, 1, 2], 2, 2),
    "before_dot:3": ([0, 1, 2], 2, 2),
    "after_dot:3": ([0, 1, 2], 2, 3),
    "after_reply:3": ([0, 1, 2], 3, 3),
}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("point", CRASHES)
def test_what_a_crash_leaves(smtp_sink: Sink, tmp_path: Path, point: str, loop: str) -> None:
    """Nothing that was not marked ever arrived; what was marked and not settled is all that is uncertain."""
    sink, record = smtp_sink(), tmp_path / "record"
    record.touch()
    process = Forked(
        crash,
        *(sink.url, record, loop),
        folder=tmp_path,
        environment=os.environ | {"MAILER_CRASH_AT": point},
        out=tmp_path / "log",
        err=tmp_path / "log",
    )
    marked_ids, least, most = CRASHES[point]

    assert process.wait() == 137, (tmp_path / "log").read_text()
    lines = [line.split() for line in record.read_text().splitlines()]
    assert [int(line[1]) for line in lines if line[0] == "marked"] == marked_ids
    assert least <= sink.hear_out().count() <= most
    assert set(sink.recipients()) <= {f"u{number}@x.example" for number in marked_ids}
