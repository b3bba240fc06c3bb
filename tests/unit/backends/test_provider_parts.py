"""Our reader of our own MIME, beside the standard library's."""

from dataclasses import replace
from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailer.address import Address
from mailer.backends.expressible import complaints
from mailer.backends.parts import lines, read
from mailer.backends.postmark import FACTS
from mailer.backends.provider import Features, Letter
from mailer.backends.structured import fields
from mailer.content import headers
from mailer.content.assembly import Head, assembled
from mailer.content.contract import Identity
from mailer.content.mime import Body, Parts
from mailer.message import Draft, Outgoing
from tests.contract.providers.letters import letter, rich

MESSAGES = {
    "everything": rich(1, Features()),
    "text alone": letter(html=None),
    "HTML alone": letter(text=None),
    "an image": letter(image=True),
    "a file": letter(html=None, file=True),
    "base64": letter(text="日本語\n" * 50, html="<p>" + "日本" * 400),
    "one long line": letter(text="x" * 3000, html="<b>ä</b>" * 500),
    "empty lines at the end": letter(text="x\n\n\n", html="\n"),
    "what looks like a boundary": letter(text="--=_abc\n--\n.\n\n--=_\n"),
    "folded headers": letter(subject="word " * 60, more={"X-A": "ü" * 200, "X-B": "a b " * 50}),
}

#: What a cell can bring into a text, encodable or it is refused before.
TEXTS = st.text(
    st.sampled_from("aB =.-_<>&\n\r\t\0\x0b\x85\u2028äé日😀") | st.characters(exclude_categories=["Cs"]),
    max_size=120,
) | st.builds(lambda text, times: text * times, st.text("x =.ä\n<>", max_size=9), st.integers(1, 400))

SHORT = b"Content-Type: multipart/mixed; %b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"


def told(part: Message) -> tuple:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return part.get_content_type(), part.get_filename() or "", octets


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_it_reads_what_the_standard_library_reads(message):
    known = message_from_bytes(message.data)
    expected = [told(part) for part in known.walk() if not part.is_multipart()]
    found = read(message.data)
    assert [(part.says.kind, part.says.name, part.octets()) for part in found.leaves()] == expected
    assert [name for name, _ in lines(found.head)] == known.keys()
    values = [str(value).replace("\r\n", "") for _, value in known.raw_items()]
    assert [value for _, value in lines(found.head)] == values


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_what_is_not_encoded_yet_has_the_same_fields(message):
    finished = replace(message, content=message.data)
    assert fields(message) == fields(finished)
    assert message.head in finished.head
    assert len(message.data) <= message.content.most
    assert complaints(FACTS, Letter(message)) == complaints(FACTS, Letter(finished))
    for limit in (len(message.data) - 1, len(message.data), 10_000_000):
        assert message.exceeds(limit) == finished.exceeds(limit) == (limit < len(message.data))


@given(text=st.none() | TEXTS, html=st.none() | TEXTS, image=st.booleans(), file=st.booleans())
def test_whatever_the_texts_are_they_come_out_of_the_mime_as_they_went_in(text, html, image, file):
    assume(text is not None or html is not None)
    message = letter(text=text, html=html, image=image, file=file)
    assert fields(message) == fields(replace(message, content=message.data))
    assert len(message.data) <= message.content.most
    assert message.content.data is message.data


#: What people put into a name or a subject; never a blank at either end.
WORDS = st.lists(
    st.text(
        st.sampled_from("aB,;:<>@\"'\\()=?_.éß日😀") | st.characters(exclude_categories=["C", "Z"]),
        min_size=1,
        max_size=30,
    ),
    min_size=1,
    max_size=12,
).map(" ".join)


@given(names=st.lists(st.just("") | WORDS, min_size=4, max_size=4), subject=WORDS, more=WORDS)
def test_what_was_told_of_a_head_is_what_its_lines_say(names, subject, more):
    sender, to, cc, reply_to = (Address(f"u{at}", "example.org", name) for at, name in enumerate(names))
    lines = headers.text("X-Season", more) + b"Auto-Submitted: no\r\n"
    head = Head(sender, [to], subject, cc=[cc], reply_to=[reply_to], more=lines)
    made = assembled(head, Body("Hello\n", None, Parts(), ()), Identity("<1@example.org>", 1.0, "1"))
    message = Outgoing(
        1, 1, made.sender, (*made.recipients, "b@example.org"), made.content, "<1@example.org>"
    )
    assert isinstance(made.content, Draft)
    assert made.content.told is not None
    assert fields(message) == fields(replace(message, content=replace(made.content, told=None)))


@pytest.mark.parametrize(
    "boundary", [b'boundary="b"', b"BOUNDARY=b", b'Boundary="b"; x=y', b"\r\n\tboundary=b"]
)
@pytest.mark.parametrize("before", [b"", b"Subject: x\r\n", b"From: a@b.example\r\nX-A: b\r\n"])
def test_a_boundary_is_found_however_it_is_written(boundary, before):
    """Short heads, too: those of others' messages are not as long as ours."""
    (part,) = read(before + SHORT % boundary).leaves()
    assert (part.says.kind, part.text()) == ("text/plain", "x")


def test_line_ends_of_a_text_become_one_kind_and_single_returns_stay():
    part = read(b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=0Db\r\nc\r\n=\r\nd\r\n")
    assert part.text() == "a\rb\nc\nd\n"


@pytest.mark.parametrize(
    ("octets", "subject"),
    [("Übersicht".encode(), "Übersicht"), ("Übersicht – März".encode("cp1252"), "Übersicht – März")],
)
def test_a_head_of_an_old_program_is_read_too(octets, subject):
    assert dict(lines(b"From: a@b.example\r\nSubject: " + octets)) == {
        "From": "a@b.example",
        "Subject": subject,
    }
