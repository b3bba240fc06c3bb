"""The sink octet by octet: pipelining, the end of a message, and what must never be taken for one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.sink.config import Rule, SinkConfig
from mailer.sink.server import Sink
from tests.servers import PATIENCE

ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"


class Client:
    """Says exactly these octets, in exactly these pieces."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.writer.close()

    async def say(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def codes(self, count: int) -> list[int]:
        """Of so many replies; 0 for the end of the connection."""
        return [await self._code() for _ in range(count)]

    async def _code(self) -> int:
        async with asyncio.timeout(PATIENCE):
            while (line := await self.reader.readline())[3:4] == b"-":
                pass
        return int(line[:3] or 0)

    async def hello(self) -> None:
        await self.say(b"EHLO client.example\r\n")
        assert await self.codes(2) == [220, 250]


@pytest.fixture
async def start():
    """``await start(rule, …, key=value)``: a running sink and the list of what it takes."""
    sinks = []

    async def run(*rules: Rule, **settings: object) -> tuple[Sink, list[bytes]]:
        taken: list[bytes] = []
        config = SinkConfig(port=0, rules=rules, **settings)
        sink = Sink(config, on_message=lambda message: taken.append(message.data))
        await sink.start()
        sinks.append(sink)
        return sink, taken

    yield run
    for sink in sinks:
        await sink.stop()


async def test_envelopes_ride_behind_bodies(start):
    sink, taken = await start()
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE)
        assert await client.codes(3) == [250, 250, 354]
        for number in range(3):
            await client.say(b"message %d\r\n.\r\n" % number + ENVELOPE)
            assert await client.codes(4) == [250, 250, 250, 354]
        await client.say(b"last\r\n.\r\nQUIT\r\n")
        assert await client.codes(3) == [250, 221, 0]
    assert taken == [b"message 0\r\n", b"message 1\r\n", b"message 2\r\n", b"last\r\n"]


async def test_a_refused_recipient_does_not_shift_the_others(start):
    sink, taken = await start(Rule("rcpt", "no@*", reply="550 5.1.1 no"))
    async with Client(sink.port) as client:
        await client.hello()
        lines = [b"MAIL FROM:<a@x>", *(b"RCPT TO:<%s@x>" % name for name in (b"a", b"no", b"c")), b"DATA"]
        await client.say(b"\r\n".join(lines) + b"\r\n")
        assert await client.codes(5) == [250, 250, 550, 250, 354]
        await client.say(b".\r\n")
        assert await client.codes(1) == [250]
    assert taken == [b""]
    assert sink.received.recipients == 2


async def test_a_delay_keeps_the_order_of_replies(start):
    sink, _ = await start(Rule("rcpt", "slow@*", delay=0.05), Rule("rcpt", "no@*", delay=0.01, reply="450 x"))
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(
            b"MAIL FROM:<a@x>\r\nRCPT TO:<slow@x>\r\nRCPT TO:<no@x>\r\nRCPT TO:<c@x>\r\nNOOP\r\nQUIT\r\n"
        )
        assert await client.codes(7) == [250, 250, 450, 250, 250, 221, 0]


async def test_latency_delays_every_flight_and_keeps_order(start):
    sink, taken = await start(latency=0.01)
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE)
        assert await client.codes(3) == [250, 250, 354]
        await client.say(b"x\r\n.\r\nQUIT\r\n")
        assert await client.codes(3) == [250, 221, 0]
    assert taken == [b"x\r\n"]


@pytest.mark.parametrize(
    ("drop", "codes", "kept"),
    [
        ("rcpt", [250, 0], []),
        ("data", [250, 250, 0], []),
        ("before-dot", [250, 250, 354, 0], []),
        ("dot", [250, 250, 354, 0], []),
        ("after-dot", [250, 250, 354, 0], [b"x\r\n"]),
    ],
)
@pytest.mark.parametrize("delay", [0.0, 0.01])
async def test_a_drop_ends_the_flight_where_it_is_told_to(start, drop, codes, kept, delay):
    rule = Rule("dot" if "dot" in drop else drop, drop=drop, delay=delay)
    sink, taken = await start(rule)
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE)
        if 354 in codes:
            assert await client.codes(3) == codes[:3]
            codes = codes[3:]
            await client.say(b"x\r\n.\r\n" + ENVELOPE)
        assert await client.codes(len(codes)) == codes
    assert taken == kept
    assert sink.received.dropped == {drop: 1}


async def test_before_the_dot_means_within_the_body(start):
    sink, taken = await start(Rule("dot", drop="before-dot"))
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE)
        await client.codes(3)
        await client.say(b"x")
        assert await client.codes(1) == [0]
    assert taken == []


async def test_pipelining_that_was_not_offered_is_an_error(start):
    sink, _ = await start(without=frozenset({"PIPELINING"}))
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE)
        assert await client.codes(2) == [421, 0]
    assert sink.received.refused == {"pipelining 421": 1}


async def test_a_body_before_354_is_an_error(start):
    sink, taken = await start()
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE + b"x\r\n.\r\n")
        assert await client.codes(4) == [250, 250, 421, 0]
    assert taken == []


async def test_what_stands_in_clear_behind_starttls_is_never_read(start):
    sink, _ = await start(starttls=True)
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
        assert await client.codes(2) == [421, 0]
    assert sink.received.transactions == 0


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"])
async def test_no_message_is_smuggled(start, end):
    """Only CRLF . CRLF ends a message; one that holds another ending is refused as a whole."""
    sink, taken = await start()
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(ENVELOPE)
        await client.codes(3)
        await client.say(b"outer" + end + ENVELOPE + b"inner\r\n.\r\nNOOP\r\n")
        assert await client.codes(2) == [550, 250]
    assert sink.received.transactions == 1
    assert taken == []


@pytest.mark.parametrize("line", [b"NOOP\n", b"NOOP\rQUIT\r\n", b"MAIL FROM:<a@x>\nRCPT TO:<b@x>\r\n"])
async def test_a_command_ends_in_crlf_alone(start, line):
    sink, _ = await start()
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(line)
        assert await client.codes(2) == [500, 0]
    assert sink.received.transactions == 0


async def test_a_line_without_end_is_not_kept_for_ever(start):
    sink, _ = await start()
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(b"x" * 20_000)
        assert await client.codes(2) == [500, 0]


@given(
    st.lists(
        st.sampled_from([b".", b"..", b"", b"x", b".x", b"\xe4.", b"y" * 998]), min_size=0, max_size=6
    ).map(lambda lines: b"".join(line + b"\r\n" for line in lines)),
    st.lists(st.integers(1, 40), max_size=8),
)
async def test_any_body_in_any_pieces_arrives(body, cuts):
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) for line in body.splitlines(True))
    octets = stuffed + b".\r\nNOOP\r\n"
    taken: list[bytes] = []
    async with (
        Sink(SinkConfig(port=0), on_message=lambda message: taken.append(message.data)) as sink,
        Client(sink.port) as client,
    ):
        await client.hello()
        await client.say(ENVELOPE)
        assert await client.codes(3) == [250, 250, 354]
        for cut in cuts:
            await client.say(octets[:cut])
            octets = octets[cut:]
            await asyncio.sleep(0)
        await client.say(octets)
        assert await client.codes(2) == [250, 250]
    assert taken == [body]


async def test_chunks(start):
    sink, taken = await start(chunking=True)
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(
            b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nBDAT 5\r\n.\r\n\r\nBDAT 3\r\n.\r\nBDAT 0 LAST\r\nNOOP\r\n"
        )
        assert await client.codes(6) == [250, 250, 250, 250, 250, 250]
    assert taken == [b".\r\n\r\n.\r\n"]


async def test_octets_of_a_refused_chunk_are_not_commands(start):
    sink, taken = await start(Rule("rcpt", reply="550 5.1.1 no"), chunking=True)
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        assert await client.codes(4) == [250, 550, 503, 250]
    assert taken == []


@pytest.mark.parametrize("drop", ["before-dot", "dot", "after-dot"])
async def test_drops_around_the_last_chunk(start, drop):
    sink, taken = await start(Rule("dot", drop=drop), chunking=True)
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nBDAT 3 LAST\r\nx\r\n")
        assert await client.codes(3) == [250, 250, 0]
    assert len(taken) == (drop == "after-dot")


async def test_chunks_only_where_they_are_offered(start):
    sink, _ = await start()
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nBDAT 3 LAST\r\nx\r\n")
        assert await client.codes(4) == [250, 250, 421, 0]


async def test_a_client_that_leaves_during_a_delay_is_forgotten(start):
    sink, _ = await start(Rule("mail", delay=60))
    async with Client(sink.port) as client:
        await client.hello()
        await client.say(b"MAIL FROM:<a@x>\r\n")
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        while sink.received.open:
            await asyncio.sleep(0.001)
