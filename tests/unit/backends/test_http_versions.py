"""HTTP/2 where the server speaks it, and the cheaper HTTP/1.1 where it does not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import pytest

from mailer.backends.account import account
from mailer.backends.channel import Channel
from mailer.backends.contract import BackendConfig
from mailer.backends.http1 import Http1
from mailer.backends.http2 import Http2
from mailer.backends.postmark import FACTS
from mailer.backends.provider import Request


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whatever TLS has agreed on."""
    agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    try:
        await (_http2 if agreed == "h2" else _http1)(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def _http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n11")


async def _http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    talk.initiate_connection()
    writer.write(talk.data_to_send())
    while data := await reader.read(10_000):
        for event in talk.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                talk.send_headers(event.stream_id, [(":status", "200")])
                talk.send_data(event.stream_id, b"22", end_stream=True)
        writer.write(talk.data_to_send())


@asynccontextmanager
async def channel(certificate, offered: list[str], more: dict[str, str]) -> AsyncIterator[Channel]:
    own = certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    context.set_alpn_protocols(offered)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    base = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    options = {"base": base, "ca_file": str(own.cert), **more}
    made = Channel(
        account(BackendConfig("main", "postmark://", password="token-0123", options=options), FACTS)
    )
    try:
        yield made
    finally:
        await made.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("offered", "more", "texts", "kind"),
    [
        (["h2", "http/1.1"], {"http2": "yes"}, {"22"}, Http2),
        (["h2", "http/1.1"], {}, {"11"}, Http1),
        (["http/1.1"], {"http2": "yes"}, {"11"}, Http1),
        ([], {"http2": "yes"}, {"11"}, Http1),
    ],
    ids=["both", "not wanted", "not spoken", "nothing said"],
)
async def test_what_the_server_speaks_is_learnt_from_its_first_answer(
    certificate, offered, more, texts, kind
):
    async with channel(certificate, offered, more) as ours:
        request = Request("/email/batch", b"abc")
        said = {answer.text for answer in await asyncio.gather(*(ours.exchange(request) for _ in range(3)))}
        assert said == texts
        assert (await ours.exchange(request)).text in texts
        assert {type(one) for one in ours._free} == {kind}
        assert ours.open == len(ours._free)
