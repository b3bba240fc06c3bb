"""A gateway on a thread of this process, a ledger behind it, and clients that say just what they are told."""

from __future__ import annotations

import asyncio
import base64
import json
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from mailer.gateway.certificate import Certificate
from mailer.gateway.config import GatewayConfig
from mailer.gateway.server import Gateway
from mailer.ledger import open_ledger
from mailer.ledger.contract import Runner
from mailer.ledger.ledger import Ledger
from mailer.outbox import access
from mailer.outbox.intake import Intake
from mailer.sink.certificate import self_signed
from tests.servers import PATIENCE, wait_until

LOOPBACK = (ip_network("127.0.0.0/8"),)
MESSAGE = (
    b"From: Shop <shop@acme.example>\r\nTo: ada@example.org\r\nSubject: Hi\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\n\r\nHello.\r\n"
)


@dataclass
class Stored:
    """One row as the ledger has it."""

    to: str
    cells: dict[str, Any]
    data: bytes
    stream: str
    backend: str


@dataclass
class Gate:
    ledger: Ledger
    gateway: Gateway
    certificate: Path
    stop: Callable[[], None]
    announced: list[tuple[tuple[int, ...], str]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.gateway.ports[0]

    def key(self, *senders: str, **more: Any) -> tuple[str, str]:
        """User and password."""
        text = access.create(self.ledger, senders=senders, **more)
        user, _, secret = text.rpartition("_")
        return user, secret

    def rows(self) -> list[Stored]:
        found = []
        for campaign in self.ledger.campaigns.list():
            for result in self.ledger.results.rows(campaign.id):
                cells = json.loads(result.cells)
                data = self.ledger.blobs.get(cells["content"])
                found.append(Stored(result.address, cells, data, campaign.stream, campaign.backend))
        return found

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    @contextmanager
    def client(self, login: tuple[str, str] | None = None) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("localhost", self.port, timeout=PATIENCE) as client:
            if login:
                client.starttls(context=self.trusting())
                client.login(*login)
            yield client

    def talk(self, *pieces: bytes, tls: bool = False) -> list[str]:
        """Say each piece in one write when the one before was answered; the last line of each answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as raw:
            replies = [_reply(raw.makefile("rb"))]
            for piece in pieces:
                raw.sendall(piece)
                with raw.makefile("rb") as file:
                    replies.append(_reply(file))
            return replies


def _reply(file: Any) -> str:
    line = b""
    while True:
        line = file.readline()
        if not line or line[3:4] == b" ":
            return line.decode().strip()


def plain(user: str, password: str) -> bytes:
    return base64.b64encode(f"\0{user}\0{password}".encode())


@pytest.fixture
def gate(tmp_path: Path, stack: ExitStack) -> Callable[..., Gate]:
    """``gate(max_size=…)`` starts one; with ``to_all=True`` loopback needs no login."""

    def start(*, to_all: bool = False, **config: Any) -> Gate:
        allowed = {"allow_networks": LOOPBACK} if to_all else {}
        return stack.enter_context(running(tmp_path, **(allowed | config)))

    return start


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """One for all examples."""
    with running(tmp_path_factory.mktemp("fuzzed"), allow_networks=LOOPBACK) as one:
        yield one


@contextmanager
def running(folder: Path, **config: Any) -> Iterator[Gate]:
    made = self_signed(folder)
    usual = {"host": "127.0.0.1", "port": 0, "login_delay": 0.01, "hostname": "gate"}
    wanted = GatewayConfig(**(usual | config))
    ledger = open_ledger(f"sqlite:///{folder}/mailer.db")
    announced: list[tuple[tuple[int, ...], str]] = []
    intake = Intake(
        ledger,
        runner=Runner.WORKERS,
        backends={"transactional": "main", "bulk": "news"},
        announce=lambda ids, stream: announced.append((tuple(ids), stream)),
    )
    gateway = Gateway(wanted, Certificate(made.cert, made.key), ledger, intake)
    ready, loops = threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await gateway.start()
        ready.set()
        await stop.wait()
        await gateway.stop(PATIENCE)

    def end() -> None:
        loop, stop = loops[0]
        with suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(stop.set)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        wait_until(ready.is_set, "the gateway")
        yield Gate(ledger, gateway, made.cert, end, announced)
    finally:
        end()
        thread.join()
        ledger.close()
