"""What is kept, added and taken out; and that only complete messages are stored, whatever comes."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.address import Address
from mailer.delivery.limits.rates import parse_all
from mailer.gateway.admission import FailedLogins, Guest, Meter
from mailer.gateway.message import Handed, finished
from mailer.sink.envelope import Refusal
from tests.servers import PATIENCE
from tests.unit.gateway.conftest import MESSAGE

GUEST = Guest("network:127.0.0.1", ())


def made(body: bytes, **more):
    return finished(
        Handed(GUEST, "shop@acme.example", (Address.parse("ada@example.org"),), False, body, **more)
    )


def test_a_complete_message_is_not_touched():
    assert made(MESSAGE).data == MESSAGE


def test_what_is_missing_is_added_in_front():
    message = made(b"From: shop@acme.example\r\n\r\nHi\r\n")

    head, _, rest = message.data.partition(b"From: ")
    assert rest == b"shop@acme.example\r\n\r\nHi\r\n"
    assert [line.partition(b":")[0] for line in head.splitlines()] == [b"Message-ID", b"Date"]
    assert message.message_id.encode() in head
    assert message.message_id.endswith("@acme.example>")


def test_blind_copies_and_our_own_headers_are_taken_out():
    kept = (b"From: shop@acme.example\r\nDate: x\r\n", b"Message-ID: <1@x>\r\nX-Mailer: Legacy 1.0\r\n")
    body = b"\r\nBcc: stays\r\n"
    blind = b"Bcc: a@example.org,\r\n b@example.org\r\n"
    ours = (
        b"X-Mailer-Stream: Bulk\r\nX-Mailer-Tag: invoice, 2024\r\nx-mailer-tag: late\r\n"
        b"X-Mailer-Idempotency-Key: order-7\r\n"
    )

    message = made(kept[0] + blind + kept[1] + ours + body)

    assert message.data == kept[0] + kept[1] + body
    assert (message.stream, message.tags, message.key) == ("bulk", ("invoice", "2024", "late"), "order-7")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\nHi\r\n",
        b"Subject: no sender\r\n\r\n",
        b"From: shop@acme.example\r\nX-Mailer-Stream: fast\r\n\r\n",
        b"From: shop@acme.example\r\nX-Mailer-Idempotency-Key: " + b"k" * 256 + b"\r\n\r\n",
        b"From: shop@acme.example\r\nX-Mailer-Tag: " + b"t" * 101 + b"\r\n\r\n",
        b"From: shop@acme.example\r\n\r\n" + b"x" * 999 + b"\r\n",
        b"From: shop@acme.example\r\nX: \0\r\n\r\n",
        b"From: shop@acme.example\r\n\r\nx\r\n\0.\r\nMAIL FROM:<boss@acme.example>\r\n",
        b" From: shop@acme.example\r\n\r\n",
        b"From: shop@acme.example\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"From: shop@acme.example\r\nMessage-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n",
        b"From: =?utf-8?q?a=0Ab?= \x1b <shop@acme.example>\r\n\r\n",
    ],
)
def test_what_cannot_be_read_in_one_way_is_refused(body):
    with pytest.raises(Refusal, match=r"^550 5"):
        made(body)


@pytest.mark.parametrize(
    "text",
    [
        "shop@acme.example",
        "Shop <shop@acme.example>",
        '"Shop, The" <shop@acme.example>',
        "shop@acme.example (Shop)",
    ],
)
def test_usual_ways_of_writing_a_sender_are_read(text):
    assert made(f"From: {text}\r\n\r\n".encode()).domain == "acme.example"


def test_a_line_of_998_octets_is_fine():
    assert made(b"From: shop@acme.example\r\n\r\n" + b"x" * 998 + b"\r\n").data.endswith(b"x\r\n")


@given(st.binary(max_size=300))
def test_any_octets_are_a_message_or_a_refusal(octets):
    with suppress(Refusal):
        assert b"From: shop@acme.example\r\n" in made(b"From: shop@acme.example\r\n" + octets).data


def test_the_same_key_is_the_same_message_when_the_application_builds_it_anew(gate):
    door = gate(to_all=True)
    first = MESSAGE.replace(b"Subject", b"X-Mailer-Idempotency-Key: order-7\r\nSubject")
    again = first.replace(b"<1@", b"<2@").replace(b"2024", b"2025")
    with door.client() as client:
        client.ehlo()
        for people, body in ((["ada@example.org"], first), (["ada@example.org", "bob@example.org"], again)):
            assert client.sendmail("shop@acme.example", people, body) == {}
        client.mail("shop@acme.example")
        client.rcpt("ada@example.org")
        code, said = client.data(again.replace(b"Hi", b"Other"))

    assert sorted(row.to for row in door.rows()) == ["ada@example.org", "bob@example.org"]
    assert (code, said[:5]) == (554, b"5.6.0")


PIECES = st.sampled_from(
    [
        b"EHLO me\r\n",
        b"MAIL FROM:<shop@acme.example>\r\n",
        b"RCPT TO:<ada@example.org>\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"STARTTLS",
        b"AUTH PLAIN AAAA\r\n",
        b"BDAT 5 LAST\r\nhello",
        MESSAGE,
        MESSAGE[:40],
        b"\r\n.\r\n",
        b".\r\n",
        b"\n.\n",
        b"\r",
        b"\x00\xff",
    ]
)


@settings(max_examples=60)
@given(pieces=st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=14), whole=st.booleans())
def test_a_fuzzed_session_never_stores_what_was_not_received_completely(fuzzed, pieces, whole):
    """What is stored was acknowledged by one 250 to a final dot, and is what stood between 354 and there."""
    before = len(fuzzed.rows())
    queued, cut = _say(fuzzed.port, pieces, whole=whole)
    rows = fuzzed.rows()[before:]

    assert len(rows) == queued or (cut and len(rows) > queued)
    sent = b"".join(pieces)
    for row in rows:
        body = row.data.partition(b"\r\n\r\n")[2]
        assert body.replace(b"\r\n.", b"\r\n..") in sent or body in sent


def _say(port: int, pieces: list[bytes], *, whole: bool) -> tuple[int, bool]:
    """How many messages were acknowledged, and whether answers were lost because we were cut off. Each piece
    waits for an answer or a moment, or all go at once."""
    cut = False
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
        said = raw.recv(1000)
        try:
            for piece in [b"".join(pieces)] if whole else pieces:
                raw.sendall(piece)
                raw.settimeout(0.02)
                with suppress(TimeoutError):
                    said += raw.recv(10_000)
            raw.settimeout(PATIENCE)
            raw.sendall(b"\r\nNOOP\r\nQUIT\r\n\r\n.\r\nQUIT\r\n")
            while more := raw.recv(10_000):
                said += more
        except ConnectionError:
            cut = True
    return said.count(b"queued as"), cut


def test_failures_of_neighbours_count_together_and_are_forgotten():
    now = [0.0]
    failures = FailedLogins(2, 10.0, lambda: now[0])

    assert failures.failed("2001:db8::1") == 1
    assert failures.failed("2001:db8::2") == 2
    assert failures.too_many("2001:db8::ffff")
    assert not failures.too_many("2001:db8:0:1::1")
    now[0] = 11.0
    assert not failures.too_many("2001:db8::1")


def test_each_client_has_a_rate_of_its_own():
    now = [1000.0]
    meter = Meter(lambda: now[0])
    one, other = (Guest(name, parse_all("3/h")) for name in ("one", "other"))

    meter.count(one, 3)

    assert meter.wait(one) > 0
    assert meter.wait(other) == 0.0
    now[0] += 3601
    assert meter.wait(one) == 0.0
