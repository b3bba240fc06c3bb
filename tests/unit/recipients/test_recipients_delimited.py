from __future__ import annotations

import pytest

from mailer.campaigns.recipients import Limits


def table(reader):
    return [(entry.line, list(entry.cells.values())) for entry in reader]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_dialect_reads_the_same(opened, delimiter, end):
    rows = [("email", "name"), ("ann@example.com", "Ann"), ("bob@example.com", "Bob")]
    reader = opened(end.join(delimiter.join(row) for row in rows) + end)

    assert table(reader) == [(2, ["ann@example.com", "Ann"]), (3, ["bob@example.com", "Bob"])]


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("Name, Vorname;email;Ort\nMüller, Jörg;j@example.com;Ulm\n", ("Name, Vorname", "email", "Ort")),
        ('email,note\na@example.com,"x;y;z"\nb@example.com,"p;q"\n', ("email", "note")),
        ('email;"price, net"\na@example.com;1,50\nb@example.com;2,50\n', ("email", "price, net")),
        ("email\na@example.com\n", ("email",)),
        ("email|tags\na@example.com|x,y\nb@example.com|z\n", ("email", "tags")),
        ('email,note\na@example.com,"several\nlines; with | others"\n', ("email", "note")),
        ("email,note\n", ("email", "note")),
    ],
)
def test_the_delimiter_is_found_in_header_and_rows(opened, text, headers):
    assert opened(text).columns.headers == headers


def test_a_declared_delimiter_is_taken(opened, stopped):
    text = "email:name\nann@example.com:Ann\n"

    assert opened(text, delimiter=":").columns.headers == ("email", "name")
    assert "is not one character" in str(stopped(text, delimiter="::"))
    assert "is not one character" in str(stopped(text, delimiter='"'))


def test_tsv_is_cut_at_tabs_and_nowhere_else(opened):
    text = "email\tname, first\tx,y\nann@example.com\tAnn\t1\n"

    assert opened(text, ".tsv").columns.headers == ("email", "name, first", "x,y")
    assert opened(text, ".dat", format="tsv").columns.headers == ("email", "name, first", "x,y")


def test_excels_own_first_line_names_the_delimiter(opened):
    reader = opened("sep=;\r\nemail;a,b,c\r\nann@example.com;1\r\n")

    assert reader.columns.headers == ("email", "a,b,c")
    assert table(reader) == [(3, ["ann@example.com", "1"])]


def test_a_record_is_at_the_line_where_it_starts(opened):
    reader = opened('email,note\nann@example.com,"one\ntwo\r\nthree"\nbob@example.com,x\n')

    assert table(reader) == [(2, ["ann@example.com", "one\ntwo\r\nthree"]), (5, ["bob@example.com", "x"])]


def test_lines_before_the_header_count(opened):
    assert table(opened("\n\nemail\nann@example.com\n")) == [(4, ["ann@example.com"])]


def test_a_missing_last_line_end_is_no_matter(opened):
    assert table(opened("email,n\nann@example.com,1")) == [(2, ["ann@example.com", "1"])]


def test_cells_keep_their_text(opened):
    reader = opened('email,zip,note\nann@example.com,01234, "x"" y \n')

    assert table(reader) == [(2, ["ann@example.com", "01234", ' "x"" y '])]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('email,n\na@example.com,1\nb@example.com,"2\nc@example.com,3\n', 3),
        ('email,n\na@example.com,"1\nb@example.com,2\n"c@example.com",3\n', 2),
        ('email,n\na@example.com,"1"x\n', 2),
        ('email,n\n"a\n@example.com","2\nc@example.com,3\n', 3),
        ('email,n\na@example.com,"1 ""quoted"" and ""\nb@example.com,1\n', 2),
        ('"email,n\na@example.com,1\n', 1),
        ('email,n\na@example.com,"', 2),
    ],
)
def test_a_quote_left_open_stops_where_it_opened(stopped, text, line):
    error = stopped(text)

    assert (error.line, error.message) == (
        line,
        "a quote opens here and is not closed at the end of its cell",
    )


def test_an_open_quote_does_not_swallow_a_large_file(stopped):
    rows = "b@example.com,some more text\n" * 2_000
    error = stopped(
        f'email,n\na@example.com,1\na@example.com,"x\n{rows}', limits=Limits(cell=5_000, row=20_000)
    )

    assert (error.line, error.message[:18]) == (3, "a quote opens here")


def test_a_nul_byte_stops_with_its_line(stopped):
    error = stopped('email,n\na@example.com,1\nb@example.com,"x\ny\0"\n')

    assert (error.line, error.message) == (4, "there is a NUL byte here")


def test_an_enormous_cell_stops_with_its_line(stopped):
    error = stopped(f"email,n\na@example.com,1\nb@example.com,{'x' * 1_000_001}\n")

    assert (error.line, error.message) == (3, "this cell is longer than 1000000 characters")


def test_an_enormous_row_stops_with_its_line(stopped):
    error = stopped(f"email,n\na@example.com,1\nb@example.com,{'x,' * 2_000_000}\n")

    assert (error.line, error.message) == (3, "this row is longer than 4000000 characters")


def test_an_enormous_row_of_quoted_lines_stops_with_its_line(stopped):
    cell = '"' + "x\n" * 40 + '"'
    text = f"email,n\na@example.com,1\nb@example.com,{','.join([cell] * 20)}\nc@example.com,1\n"
    error = stopped(text, limits=Limits(cell=500, row=1000))

    assert (error.line, error.message) == (3, "this row is longer than 1000 characters")


def test_a_file_without_line_ends_is_not_read_whole(stopped):
    assert "longer than 1000 characters" in str(stopped("email" * 10_000, limits=Limits(cell=500, row=1000)))


def test_too_many_columns_stop(stopped):
    assert "more than 2000" in str(stopped(",".join(f"c{n}" for n in range(2_001)) + "\n"))


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_an_empty_file_stops(stopped, text):
    assert stopped(text).message == "the file is empty"


@pytest.mark.parametrize("text", ["email,n\n", "email,n", "email,n\n\n,\n"])
def test_a_file_without_rows_stops(stopped, text):
    error = stopped(text)

    assert (error.line, error.message) == (1, "there are no recipients below the header")
