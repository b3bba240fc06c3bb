"""What an independent parser reads from a header line is what was meant, or there is no line."""

import email
from email.policy import compat32, default

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.address import UNSAFE, Address
from mailer.content import headers
from mailer.errors import ContentError

SAFE_TEXT = st.text(max_size=300).filter(lambda text: not UNSAFE.search(text))


def parsed(line, policy=default):
    message = email.message_from_bytes(line + b"\r\nbody", policy=policy)
    assert message.get_payload() == "body"
    return message


def lines_of(line):
    assert line.endswith(b"\r\n")
    return line[:-2].split(b"\r\n")


@given(SAFE_TEXT)
@example("Grüße, 日本")
@example(" leading and trailing ")
@example("two  blanks " * 20)
@example("x" * 2000)
@example("=?utf-8?q?typed_by_a_person?=")
@example("a =?b?= c")
def test_unstructured_text_is_read_back_exactly(value):
    try:
        line = headers.text("Subject", value)
    except ContentError:
        assert "=?" in value  # an encoded word that hides a control character
        return

    assert parsed(line).items() == [("Subject", value)]
    assert all(len(one) <= 78 for one in lines_of(line))


@given(
    st.text(max_size=60),
    st.sampled_from("\r\n\0\t\x0b\x7f\x85\u2028\u2029\u202e\ud800"),
    st.text(max_size=60),
)
def test_no_control_character_gets_into_any_header(before, control, after):
    value = before + control + after

    with pytest.raises(ContentError, match="cannot hold"):
        headers.text("Subject", value)
    with pytest.raises(ContentError, match="cannot hold"):
        headers.token("References", value)
    with pytest.raises(ContentError, match="cannot hold"):
        headers.addresses("To", [Address("a", "b.example", value)])
    with pytest.raises(ContentError, match="cannot hold"):
        headers.parameter("filename", value)


@pytest.mark.parametrize(
    "value",
    [
        "=?utf-8?q?a=0ABcc=3A_evil=40x?=",
        "=?utf-8?Q?=0D=0ABcc:_x?=",
        "=?utf-8?b?YQpCY2M6IGV2aWxAeA==?=",
        "=?iso-8859-1?q?a=00b?=",
        "=?utf-16?b?AAoA?=",
        "=?x?q?=7F?=",
        "fine =?utf-8?q?=0A?= =?utf-8?q?Bcc?=",
    ],
)
def test_an_encoded_word_cannot_carry_what_plain_text_cannot(value):
    with pytest.raises(ContentError):
        headers.text("Subject", value)
    with pytest.raises(ContentError):
        headers.addresses("To", [Address("a", "b.example", value)])


@given(st.lists(st.tuples(SAFE_TEXT, st.sampled_from(["ann", "o'neil", "a.b+c"])), min_size=1, max_size=4))
@example([("Lee, Ann", "ann"), ('"quoted" \\ name', "ann"), ("Zoë", "ann"), ("x" * 200, "ann")])
def test_display_names_cannot_become_addresses(entries):
    meant = [Address(local, "acme.example", name) for name, local in entries]
    try:
        line = headers.addresses("To", meant)
    except ContentError:
        assert any("=?" in name for name, _ in entries)
        return

    read = parsed(line)["To"].addresses
    assert [one.addr_spec for one in read] == [one.addr for one in meant]
    # The parser of 3.11 keeps the blank between two encoded words.
    blank = str.maketrans("", "", " \u3000\xa0")
    assert [one.display_name.translate(blank) for one in read] == [one.name.translate(blank) for one in meant]
    assert max(map(len, lines_of(line))) <= 160


@given(SAFE_TEXT.filter(lambda name: name.strip() == name and name))
@example("Rechnung für Zoë.pdf")
@example("x" * 250 + ".pdf")
@example('a"b\\c;d.pdf')
@example("100%20.pdf")
@example("<>")
def test_file_names_are_read_back_exactly(name):
    try:
        line = b"Content-Disposition: attachment" + headers.parameter("filename", name).encode() + b"\r\n"
    except ContentError:
        assert "=?" in name
        return

    assert parsed(line, compat32).get_filename() == name
    assert all(len(one) <= 78 for one in lines_of(line))


@pytest.mark.parametrize("name", ["", "Sub ject", "Subject:", "Bcc\r\n", "X\nY", "Ümlaut", "a" * 71, "X\0"])
def test_header_names_come_from_an_allow_list(name):
    with pytest.raises(ContentError):
        headers.field_name(name)


def test_dates_are_those_of_rfc_5322():
    assert headers.date(0.9) == b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"


def test_a_token_is_never_encoded_and_never_too_long():
    long = " ".join(f"<{number:050d}@acme.example>" for number in range(20))

    line = headers.token("References", long)

    assert str(parsed(line)["References"]) == long
    assert max(map(len, lines_of(line))) <= 78
    with pytest.raises(ContentError):
        headers.token("List-Unsubscribe", "<https://acme.example/" + "x" * 1000 + ">")
    with pytest.raises(ContentError):
        headers.token("References", "<é@acme.example>")


def test_an_address_beyond_ascii_stays_utf8():
    line = headers.addresses("To", [Address("jörg", "acme.example", "Jörg")])

    assert line == "To: =?utf-8?q?J=C3=B6rg?= <jörg@acme.example>\r\n".encode()
