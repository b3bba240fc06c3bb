"""What holds for any table, and for any bytes."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailer.campaigns import recipients
from mailer.campaigns.recipients import Invalid, InvalidWriter, Limits, Recipient, RecipientSource
from mailer.errors import RecipientsError

LINE_END = re.compile(r"\r\n|\r|\n")

# Lone CR and LF are quoted by csv.writer only when the line end holds them, or when everything is.
DIALECTS = st.tuples(
    st.sampled_from(",;\t|"),
    st.sampled_from(
        [("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL)]
    ),
)


@st.composite
def written(draw):
    """(bytes, declared encoding or None, headers, rows) of a table as some program writes it."""
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1", "gb18030"]))
    cell = st.text(st.characters(codec=codec, exclude_characters="\0"), max_size=8) | st.text(
        ",;\t|\"'\r\n a", max_size=8
    )
    headers = ["email", *(f"c{number}" for number in range(draw(st.integers(1, 4))))]
    width = len(headers) - 1
    bodies = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=12))
    rows = [[f"user{number}@example.com", *body] for number, body in enumerate(bodies)]
    delimiter, (line_end, quoting) = draw(DIALECTS)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    lines = []
    for row in (headers, *rows):
        lines.append(len(LINE_END.findall(text.getvalue())) + 1)
        writer.writerow(row)
    declared = codec if codec in {"cp1252", "latin-1", "gb18030"} else None
    return text.getvalue().encode(codec), declared, headers, list(zip(lines[1:], rows, strict=True))


@given(written())
@settings(max_examples=300)
def test_any_table_reads_back_as_it_was_written(table):
    content, encoding, headers, rows = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes(content)
        reader = recipients.open(RecipientSource(path, encoding=encoding, unique=False))
        entries = list(reader)

    assert list(reader.columns.headers) == headers
    assert [(entry.line, list(entry.cells.values())) for entry in entries] == rows
    assert [entry.ordinal for entry in entries] == list(range(1, len(rows) + 1))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=8))
@example([["\r", "\n"], ['"', ","]])
def test_any_invalid_row_reads_back_as_it_was(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.invalid.csv"
        with InvalidWriter(path, ["email", "n"]) as writer:
            for number, cells in enumerate(rows, 1):
                writer.write(Invalid(number, number + 1, None, "why", [f"x{cells[0]}", cells[1]]))
        reader = recipients.open(RecipientSource(path))
        back = [list(row[2]) for chunk in reader.chunks() for row in chunk.rows]

    assert back == [[f"x{cells[0]}", cells[1]] for cells in rows]


MARKS = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04", b"\x1f\x8b", b"<html", b"sep=;"]
CSV = [b"email", b"name", b"a@example.com", b",", b";", b"\t", b'"', b'""', b"line,column,reason,"]
BLANKS = [b"\n", b"\r\n", b"\r", b"\0", b" ", b"x" * 40, b"\xe4", b"\xc3", "ä\u2028".encode(), b"+ADw-"]
JSON = [b"{", b"}", b'{"email":', b'"a@example.com"}', b"[", b"null", b"\\ud800", b"1e5"]
PIECES = st.sampled_from(MARKS + CSV * 3 + BLANKS * 2 + JSON)


def workbook() -> bytes:
    book = openpyxl.Workbook()
    for row in [("email", "n"), ("a@example.com", 1), ("b@example.com", 2.5)]:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


GOOD = [
    b"email,n\na@example.com,1\nb@example.com,2\n",
    b'email;n\r\na@example.com;"1\r\n2"\r\nb@example.com;""\r\n',
    "email\tn\na@example.com\tä\n".encode("utf-16"),
    b'{"email": "a@example.com", "n": 1}\n{"email": "b@example.com"}\n',
    workbook(),
]


@st.composite
def damaged(draw):
    """A good file with something put in, over or away."""
    content = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        gone = draw(st.sampled_from([0, 0, 1, 30]))
        content = content[:at] + draw(PIECES | st.binary(max_size=3)) + content[at + gone :]
    return content


@given(
    damaged() | st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=200),
    st.sampled_from([".csv", ".csv", ".tsv", ".jsonl", ".xlsx", ""]),
    st.sampled_from([None, None, None, "cp1252", "utf-16", "utf-7", "shift_jis"]),
)
@settings(max_examples=600)
def test_any_bytes_are_rows_or_an_error(content, suffix, encoding):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"list{suffix}"
        path.write_bytes(content)
        try:
            entries = list(
                recipients.open(RecipientSource(path, encoding=encoding, limits=Limits(cell=60, row=100)))
            )
        except RecipientsError as error:
            assert error.file == str(path)  # noqa: PT017 - an error is one of two right answers
            return
    assert entries
    assert all(isinstance(entry, Recipient | Invalid) for entry in entries)


@pytest.mark.parametrize("where", [None, "c1 == '1'"])
def test_a_long_list_takes_no_more_memory_than_a_short_one(tmp_path, where):
    script = textwrap.dedent(
        """
        import re, resource, sys
        from pathlib import Path
        from mailer.campaigns import recipients

        path, rows, where = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
        with path.open("w") as file:
            file.write("email,c1,c2\\n")
            for number in range(rows):
                row = f"user{number}@example.com,{number % 2},some more text"
                file.write(row * bool(number % 50) + "\\n")
        reader = recipients.open(recipients.RecipientSource(path, where=where, unique=False))
        assert sum(1 for _ in reader) + reader.tally.filtered == rows
        status = Path("/proc/self/status")  # ru_maxrss begins with the parent's on Linux
        if status.exists():
            print(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """
    )

    def peak(rows: int) -> int:
        command = [sys.executable, "-c", script, str(tmp_path / "list.csv"), str(rows), where or ""]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(100_000) < 1.1 * peak(5_000)
