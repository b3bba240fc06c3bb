"""Any text arrives as it was, in lines that need no stuffing."""

import base64
import quopri

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.content.encoding import encoded_octets, encoded_text, in_lines
from mailer.errors import ContentError

LINES = st.text(st.characters(codec="utf-8"), max_size=300) | st.text(".=- \tFab\r\n", max_size=300)
#: HTML of one long line, cut between tags at any width.
HTML = st.lists(st.text("é.= \tab", max_size=90), min_size=2, max_size=12).map(
    lambda cells: f"<p>{'x' * 1000}</p>" + "".join(f"<td>{cell}</td>" for cell in cells)
)


def decoded(encoding, data):
    if encoding == b"base64":
        return base64.b64decode(data)
    return quopri.decodestring(data) if encoding == b"quoted-printable" else data


@given(LINES | HTML)
@example("x" * 75 + "." + "y" * 80)
@example("é" + "." * 200)
@example("." * 76 + "\n" + "é." * 100)
@example("long " * 300)
@example("x" * 3000)
@example("<p>" + "x" * 68 + "</p><p>" + "y" * 1000 + "</p>")
@example("".join(f"<p>{'x' * n}</p>" for n in range(100)))
@example("blank at the end \nand a tab\t\n\n")
@example("--=_0123456789")
@example("日本語" * 100)
@example("é" + "x" * 70 + ".=.=.=\n.")
def test_any_text_is_read_back_exactly(text):
    encoding, data = encoded_text(in_lines(text))

    meant = text.replace("\r\n", "\n").replace("\r", "\n")
    meant = meant if meant.endswith("\n") else meant + "\n"
    assert decoded(encoding, data).decode() == meant.replace("\n", "\r\n")
    assert data.isascii()
    lines = data.split(b"\r\n")
    assert lines[-1] == b""
    assert not any(b"\n" in line or b"\r" in line or line.startswith((b".", b"--=_")) for line in lines)
    assert max(map(len, lines)) <= (998 if encoding == b"7bit" else 76)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("plain\n", b"7bit"), ("Grüße und viel mehr Text\n", b"quoted-printable"), ("日本語\n", b"base64")],
)
def test_the_smaller_encoding_is_taken(text, encoding):
    assert encoded_text(in_lines(text))[0] == encoding


def test_half_a_character_is_refused():
    with pytest.raises(ContentError, match="surrogate"):
        in_lines("a\ud800b")


@given(st.binary(max_size=400))
def test_octets_are_read_back_exactly(data):
    encoded = encoded_octets(data)

    assert base64.b64decode(encoded) == data
    assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))
