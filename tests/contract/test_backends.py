"""What every backend promises, tried on every scheme of the registry."""

import asyncio
import io
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailer.backends import BACKENDS, connect, urls
from mailer.backends.contract import Backend
from mailer.backends.memory import MemoryBackend
from mailer.errors import BackendUnusable
from mailer.message import Accepted, Deferred, Fenced, Outgoing, Rejected, Reply
from tests.contract.providers.fake import serving
from tests.contract.providers.registry import ROLES
from tests.servers import free_port

#: Leading dots, a dot alone, the longest line, octets over 127, trailing spaces, an empty last line.
AWKWARD = b".\r\n..\r\n.x\r\n" + b"y" * 998 + b"\r\n\xe4\xff\x80 \r\nFrom here\r\n\r\n.\r\n \t\r\n\r\n"


def outgoing(number: int, body: bytes = b"Hello to you.\r\n", to: str | None = None) -> Outgoing:
    recipient = to or f"r{number}@example.org"
    head = f"From: <news@acme.example>\r\nTo: <{recipient}>\r\nSubject: Message number {number}\r\n"
    identity = f"<{number}@acme.example>"
    data = f"{head}Message-ID: {identity}\r\n\r\n".encode() + body
    return Outgoing(
        number, 7, "news@acme.example", (recipient,), data, identity, eight_bit=not data.isascii()
    )


class Marks:
    """Answers True unless told otherwise, and remembers who asked and what had left by then."""

    def __init__(self, way: "Way | None" = None, refuse: tuple[int, ...] = ()) -> None:
        self.asked: Counter[int] = Counter()
        self.too_late: list[int] = []
        self._way, self._refuse = way, refuse

    async def __call__(self, message: Outgoing) -> bool:
        await asyncio.sleep(0)
        self.asked[message.id] += 1
        if self._way is not None and self._way.left(message):
            self.too_late.append(message.id)
        return message.id not in self._refuse


@dataclass
class Way:
    """One backend, and how to see from outside what left through it."""

    url: str
    contents: Callable[[], list[bytes]]
    broken: str  # a URL of the same scheme that cannot work
    line_end: bytes = b"\r\n"
    spoil: Callable[[], None] = lambda: None  # what a URL alone cannot break

    def backend(self, more: str = "") -> Backend:
        separator = "&" if "?" in self.url else "?"
        return connect(urls.parse("main", self.url + (separator + more if more else "")))

    def left(self, message: Outgoing) -> bool:
        subject = f"Subject: Message number {message.id}\r\n".encode().replace(b"\r\n", self.line_end)
        return any(subject in content for content in self.contents())

    def contents_of(self, batch: list[Outgoing]) -> list[bytes]:
        return sorted(message.data.replace(b"\r\n", self.line_end) for message in batch)


def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    good, bad = MemoryBackend("contract"), MemoryBackend("broken")
    bad.unusable = BackendUnusable("main", "told to")
    request.addfinalizer(lambda: (good, bad))  # the registry of names does not keep them alive
    return Way("memory://contract", lambda: [message.data for message in good.messages], "memory://broken")


def read_all(folder: Path, pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(pattern)]


def maildir(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    (tmp_path / "file").touch()
    box, broken = tmp_path / "box", tmp_path / "file" / "box"
    return Way(f"file://{box}", lambda: read_all(box, "new/*"), f"file://{broken}", b"\n")


def eml(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    (tmp_path / "file").touch()
    box, broken = tmp_path / "box", tmp_path / "file" / "box"
    return Way(f"file://{box}?format=eml", lambda: read_all(box, "*.eml"), f"file://{broken}?format=eml")


def console(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    capture: pytest.CaptureFixture[str] = request.getfixturevalue("capfd")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    printed: list[str] = []

    def close_stderr() -> None:
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed)

    def contents() -> list[bytes]:
        printed.append(capture.readouterr().out)
        return ["".join(printed).encode()]

    return Way("console:", contents, "console://stderr", b"\n", spoil=close_stderr)


def sendmail(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    box, program = tmp_path / "box", tmp_path / "sendmail"
    box.mkdir()
    program.write_text(f'#!/bin/sh\ncat >"{box}/$$.part" && mv "{box}/$$.part" "{box}/$$.in"\n')
    program.chmod(0o700)
    return Way(f"sendmail://{program}", lambda: read_all(box, "*.in"), f"sendmail://{tmp_path}/absent", b"\n")


def smtp(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    sink = request.getfixturevalue("mailer_sink")()
    return Way(sink.url, lambda: [message.data for message in sink.messages()], dead("smtp"))


def smtp_chunked(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    sink = request.getfixturevalue("mailer_sink")(chunking=True)
    return Way(sink.url, lambda: [message.data for message in sink.messages()], dead("smtp"))


def smtp_serial(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    sink = request.getfixturevalue("mailer_sink")(without=["PIPELINING", "SIZE"])
    return Way(sink.url, lambda: [message.data for message in sink.messages()], dead("smtp"))


def smtp_postfix(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    sink = request.getfixturevalue("smtp_sink")()
    return Way(sink.url, lambda: [message.data for message in sink.messages()], dead("smtp"), b"\n")


def smtps(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    certificate = request.getfixturevalue("certificate")()
    sink = request.getfixturevalue("mailer_sink")(
        tls=True, certificate=str(certificate.cert), key=str(certificate.key)
    )
    url = f"smtps://127.0.0.1:{sink.port}?ca_file={certificate.cert}"
    return Way(url, lambda: [message.data for message in sink.messages()], dead("smtps"))


def provider(scheme: str) -> Callable[[pytest.FixtureRequest, Path], Way]:
    """A provider's API, played by a fake; what left is told by its subject."""

    def build(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
        role = ROLES[scheme]
        fake = request.getfixturevalue("stack").enter_context(serving(role.play))
        nobody = role.address(f"http://127.0.0.1:{free_port()}")
        return Way(role.address(fake.base), fake.contents, nobody)

    build.__name__ = scheme
    return build


def dead(scheme: str) -> str:
    """Nobody listens there."""
    return f"{scheme}://127.0.0.1:{free_port()}{'' if scheme == 'smtps' else '?tls=none'}"


WAYS = [
    memory,
    maildir,
    eml,
    console,
    sendmail,
    smtp,
    smtp_chunked,
    smtp_serial,
    smtp_postfix,
    smtps,
    *(provider(scheme) for scheme, role in ROLES.items() if not role.html_only),
]
#: These show a message as people read it, or take it apart.
INEXACT = {"console", *(scheme for scheme, role in ROLES.items() if not role.raw)}


@pytest.fixture(params=WAYS, ids=lambda build: build.__name__)
def way(request, tmp_path) -> Way:
    return request.param(request, tmp_path)


@pytest.fixture(
    params=[build for build in WAYS if build.__name__ not in INEXACT], ids=lambda build: build.__name__
)
def exact_way(request, tmp_path) -> Way:
    """Every way that keeps the octets."""
    return request.param(request, tmp_path)


def test_every_scheme_is_tried():
    tried = {build.__name__.partition("_")[0] for build in WAYS} | set(ROLES)
    assert tried - {"maildir", "eml"} | {"file"} == set(BACKENDS)


async def test_a_batch_arrives_whole_and_in_order(way):
    backend = way.backend()
    batch = [outgoing(number) for number in range(20)]
    marks = Marks()

    outcomes = await backend.send(batch, marks)
    await backend.close()

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 20
    assert marks.asked == Counter(range(20))
    assert all(way.left(message) for message in batch)


async def test_nothing_leaves_before_its_mark(way):
    backend = way.backend()
    marks = Marks(way)
    await backend.send([outgoing(number) for number in range(5)], marks)
    await backend.close()
    assert marks.too_late == []


async def test_a_lost_lease_is_fenced_and_nothing_of_it_leaves(way):
    backend = way.backend()
    batch = [outgoing(number) for number in range(6)]

    outcomes = await backend.send(batch, Marks(refuse=(0, 3, 5)))
    await backend.close()

    assert [type(outcome) for outcome in outcomes] == [Fenced, Accepted, Accepted, Fenced, Accepted, Fenced]
    assert [way.left(message) for message in batch] == [False, True, True, False, True, False]


async def test_an_empty_batch_is_nothing(way):
    backend, marks = way.backend(), Marks()
    assert list(await backend.send([], marks)) == []
    await backend.close()
    assert marks.asked == Counter()


async def test_calls_at_once_do_not_mix(way):
    backend = way.backend()
    calls = [[outgoing(10 * call + number) for number in range(10)] for call in range(4)]
    refused = tuple(range(0, 40, 7))

    results = await asyncio.gather(*(backend.send(batch, Marks(refuse=refused)) for batch in calls))
    await backend.close()

    for batch, outcomes in zip(calls, results, strict=True):
        expected = [Fenced if message.id in refused else Accepted for message in batch]
        assert [type(outcome) for outcome in outcomes] == expected


async def test_closing_twice_is_closing(way):
    backend = way.backend()
    await backend.send([outgoing(1)], Marks())
    await backend.close()
    await backend.close()


async def test_what_cannot_work_says_so_and_sends_nothing(way):
    way.url = way.broken
    way.spoil()
    backend = way.backend()
    with pytest.raises(BackendUnusable) as caught:
        await backend.send([outgoing(1), outgoing(2)], Marks())
    await backend.close()
    assert str(caught.value).startswith("backend 'main': ")


async def test_octets_arrive_as_they_are(exact_way):
    way = exact_way
    backend = way.backend()
    batch = [outgoing(1, AWKWARD), outgoing(2, b"x" * 998 + b"\r\n" * 50), outgoing(3, b"")]

    outcomes = await backend.send(batch, Marks())
    await backend.close()

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
    assert sorted(way.contents()) == way.contents_of(batch)


async def test_what_is_too_large_is_refused_unmarked(way):
    backend, marks = way.backend("size=2000"), Marks()
    batch = [outgoing(1), outgoing(2, b"x\r\n" * 700), outgoing(3)]

    outcomes = await backend.send(batch, marks)
    await backend.close()

    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
    assert "larger than" in outcomes[1].reply.reason
    assert not outcomes[1].suppress
    assert marks.asked == Counter([1, 3])
    assert backend.limits.size == 2000


async def test_a_probe_sends_nothing(way):
    backend = way.backend()
    answer = await backend.probe()
    await backend.close()
    assert answer
    assert "\n" not in answer
    assert not any(way.contents())


async def test_a_failing_mark_holds_up_its_own_message_only(way):
    async def failing(message: Outgoing) -> bool:
        if message.id == 2:
            raise RuntimeError("the ledger is gone")
        return True

    backend = way.backend()
    outcomes = await backend.send([outgoing(1), outgoing(2), outgoing(3)], failing)
    await backend.close()
    assert [type(outcome) for outcome in outcomes] == [Accepted, Deferred, Accepted]
    assert not way.left(outgoing(2))


async def test_a_refused_recipient_is_never_marked(mailer_sink):
    """Where the other side can refuse before the body: scripted, and over SMTP."""
    rules = '[[rule]]\nat = "rcpt"\nmatch = "*@gone.example"\nreply = "550 5.1.1 no such user"\n'
    sink = mailer_sink(rules)
    refusal = Rejected(Reply("no such user", 550, "5.1.1"), suppress=True)
    scripted = MemoryBackend(outcomes={"*@gone.example": refusal})
    batch = [outgoing(1), outgoing(2, to="x@gone.example"), outgoing(3), outgoing(4, to="y@gone.example")]

    for backend in (connect(urls.parse("main", sink.url)), scripted):
        marks = Marks()
        outcomes = await backend.send(batch, marks)
        await backend.close()
        assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted, Rejected]
        assert all(outcome.suppress for outcome in outcomes if isinstance(outcome, Rejected))
        assert marks.asked == Counter([1, 3])
