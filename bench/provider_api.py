"""A provider's HTTP API that takes everything: ``python -m bench.provider_api PORT MILLISECONDS [CERT]``.

It answers so many milliseconds after it was asked. A process of its own, so that it costs the sender no time.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from functools import partial
from typing import cast

import uvloop

#: What stands once in the JSON of each message of a batch.
ONE = {b"/email/batch": b'"MessageStream":', b"/emails/batch": b'"subject":'}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def answer(path: bytes, body: bytes) -> bytes:
    """What this API says of these messages."""
    count = body.count(ONE.get(path, b"\0"))
    items: object
    if path == b"/email/batch":
        items = [{"ErrorCode": 0, "Message": "OK", "MessageID": f"id-{n}"} for n in range(count)]
    elif path == b"/emails/batch":
        items = {"data": [{"id": f"id-{n}"} for n in range(count)]}
    else:
        items = {"MessageId": "id-1", "id": "id-1", "Name": "bench", "data": []}
    return json.dumps(items).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as clients of a benchmark speak it: one request at a time, with Content-Length."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._read = bytearray()
        self._length = -1  # of the whole request, once its head is here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._length < 0:
            head, end, _ = bytes(self._read).partition(b"\r\n\r\n")
            if not end:
                return
            said = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._length = len(head) + 4 + int(said or 0)
        if len(self._read) < self._length:
            return
        head, _, body = bytes(self._read).partition(b"\r\n\r\n")
        self._read.clear()
        self._length = -1
        said = answer(head.split(b" ", 2)[1], body)
        asyncio.get_running_loop().call_later(self._delay, self._say, _HEAD % len(said) + said)

    def _say(self, octets: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(octets)


async def serve(port: int, delay: float, certificate: str | None) -> None:
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, delay), "127.0.0.1", port, ssl=context, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000, sys.argv[3] if sys.argv[3:] else None))
