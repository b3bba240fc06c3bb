"""``connections`` is a total over processes: real ones, over the ledger and over a real Redis."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from redis.asyncio import Redis

from mailer.ledger import open_ledger
from tests.servers import PATIENCE
from tests.unit.smtp.scripted import is_open, serving

#: What one worker process has of it, flooding its backend. Says so when the first batch is answered.
FLOOD = """
import asyncio, sys
from mailer.backends import connect, urls
from mailer.delivery.connections import Connections
from mailer.delivery.limits.journal import Journal
from mailer.delivery.limits.ledger import LedgerCopies, LedgerStore
from mailer.delivery.limits.shares import Lot
from mailer.ledger import open_ledger
from mailer.ledger.writer import GroupCommit
from mailer.message import Accepted, Outgoing

BODY = b"From: a@sender.example\\r\\nTo: b@x.example\\r\\nSubject: Hello\\r\\n\\r\\nHello\\r\\n"

async def yes(message):
    return True

async def main(sink, ledger, redis, name, stream):
    writer = GroupCommit(open_ledger(ledger))
    if redis:
        from mailer.delivery.limits.filling import Filling
        from mailer.delivery.limits.redis import RedisStore
        store = RedisStore(Filling(redis, Journal(), LedgerCopies(writer)))
    else:
        store = LedgerStore(writer)
    backend = connect(urls.parse("main", sink, connections=5))
    connections = Connections(store, {"main": backend}, {"main": Lot(5, 1)}, name=name, stream=stream)
    connections.start()
    while True:
        batch = [Outgoing(n, 1, "a@sender.example", (f"{n}@x.example",), BODY, f"<{n}@x>") for n in range(50)]
        outcomes = await backend.send(batch, yes)
        if all(isinstance(outcome, Accepted) for outcome in outcomes):
            print(name, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def flood(sink, ledger, redis_url, name, stream="bulk"):
    """A process that sends without end; entered when its first batch is through."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FLOOD, sink, ledger, redis_url, name, stream), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == f"{name}\n".encode()
        yield process
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.communicate()


async def until(true):
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


class Api(asyncio.Protocol):
    """A provider that takes everything after a moment; it counts the connections to it."""

    open = most = 0
    sockets: ClassVar[set[socket.socket]] = set()

    def connection_made(self, transport):
        self.transport, self.read = transport, b""
        self.socket = transport.get_extra_info("socket")
        Api.open += 1
        Api.sockets.add(self.socket)
        Api.most = max(Api.most, sum(map(is_open, Api.sockets)))

    def connection_lost(self, error):
        Api.open -= 1
        Api.sockets.discard(self.socket)

    def data_received(self, data):
        self.read += data
        head, end, body = self.read.partition(b"\r\n\r\n")
        if end and len(body) >= int(re.search(rb"content-length: (\d+)", head.lower())[1]):
            self.read = b""
            asyncio.get_running_loop().call_later(0.02, self.answer)

    def answer(self):
        self.transport.write(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: 1\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def api():
    Api.open = Api.most = 0
    server = await asyncio.get_running_loop().create_server(Api, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"sendgrid://key0123456789@?base=http://127.0.0.1:{port}&batch=1"
    finally:
        server.close()


@pytest.mark.slow
async def test_a_total_and_a_reserve_over_http(ledger):
    """A provider's API counts as a relay does: the total holds, and moves to who needs it."""
    async with api() as url, flood(url, ledger, "", "bulk-1"):
        await until(lambda: Api.open == 4)
        async with flood(url, ledger, "", "bulk-2"):
            await until(lambda: Api.open == 4)
            async with flood(url, ledger, "", "transactional-1", "transactional"):
                await until(lambda: Api.open == 5)
        assert Api.most == 5


@pytest.fixture
def ledger(tmp_path):
    url = f"sqlite:///{tmp_path}/mailer.db"
    open_ledger(url).close()
    return url


async def test_a_total_and_a_reserve_over_the_ledger(ledger):
    async with serving() as server:
        async with flood(server.url(), ledger, "", "bulk-1"), flood(server.url(), ledger, "", "bulk-2"):
            await until(lambda: server.open == 4)
            assert server.most == 4  # one is reserved

            async with flood(server.url(), ledger, "", "transactional-1", "transactional"):
                await until(lambda: server.open == 5)
        assert server.most == 5


@pytest.mark.slow
async def test_over_redis_also_when_it_is_emptied_and_a_process_is_killed(redis_server, ledger):
    redis = Redis.from_url(redis_server.url, protocol=2)

    async def holders():
        return set(json.loads(await redis.get("mailer:{limits}:connections:main") or "{}"))

    async with serving() as server:
        more = (server.url(), ledger, redis_server.url)
        async with flood(*more, "bulk-1"), flood(*more, "bulk-2") as other:
            await until(lambda: server.open == 4)
            assert server.most == 4

            async with flood(*more, "transactional-1", "transactional"):
                await until(lambda: server.open == 5)
                await redis.flushall()
                async with asyncio.timeout(PATIENCE):
                    while await holders() != {"bulk-1", "bulk-2", "transactional-1"}:
                        await asyncio.sleep(0.05)
                await until(lambda: server.open == 5)

            os.kill(other.pid, signal.SIGKILL)
            await until(lambda: server.open < 4)
            await until(lambda: server.open == 4)  # when the lease of the dead one is over
        assert server.most == 5
    await redis.aclose()
