from __future__ import annotations

import pickle
from datetime import date, datetime
from decimal import Decimal

import pytest

from mailer.campaigns.recipients import Invalid, Recipient
from mailer.content.celltypes import convert, validate_type


def test_invalid_rows_are_named_and_the_others_go_on(opened, refused, people):
    reader = opened(
        "email,name\nann@example.com,Ann\nnobody,X\nbob@example.com\nzoe@example.com,Z,1\n,Eve\nc@example.com,C\n"
    )

    assert [entry.address.addr for entry in people(reader)] == ["ann@example.com", "c@example.com"]
    rows = refused(reader)
    assert [(line, column) for line, column, _ in rows] == [(3, "email"), (4, None), (5, None), (6, "email")]
    assert [reason for _, _, reason in rows][1:] == [
        "1 cell instead of 2",
        "3 cells instead of 2",
        "there is no address",
    ]


def test_blank_lines_between_rows_are_invalid_and_those_at_the_end_are_nothing(opened, refused):
    reader = opened("email,name\na@example.com,A\n\n , \nb@example.com,B\n\n,\n   \n\n")

    assert refused(reader) == [(3, None, "blank line"), (4, None, "blank line")]
    assert reader.tally.rows == 4


def test_the_ordinal_counts_every_row_of_the_file(opened):
    text = "email,plan\na@example.com,pro\nnobody,pro\n\nb@example.com,free\nc@example.com,pro\n"

    for where in (None, "plan == 'pro'"):
        entries = list(opened(text, where=where))
        assert [entry.ordinal for entry in entries if isinstance(entry, Recipient)][-1] == 5
    assert [entry.ordinal for entry in opened(text, first_ordinal=100)] == [100, 101, 102, 103, 104]


def test_a_recipient_carries_its_cells_by_original_header(opened):
    (entry,) = opened("E-mail,First Name\n Ann <Ann@Example.COM> ,Ann\n")

    assert entry.cells == {"E-mail": " Ann <Ann@Example.COM> ", "First Name": "Ann"}
    assert (entry.address.addr, entry.name, entry.key) == ("Ann@example.com", "Ann", "ann@example.com")


def test_the_name_column_wins_over_the_name_in_the_address(opened):
    text = "email,who\nA <a@example.com>,Ann\nB <b@example.com>,\n"

    assert [entry.name for entry in opened(text, columns={"name": "who"})] == ["Ann", ""]


def test_a_name_that_would_break_a_header_is_invalid(opened, refused):
    reader = opened('email,name\na@example.com,"Ann\nBcc: x@example.com"\n', columns={"name": "name"})

    assert refused(reader) == [(2, "name", "it holds a line break or another control character")]


@pytest.mark.parametrize(
    "cell", ['"a@example.com, b@example.com"', "a@example.com b@example.com", "<", "a@b@c.de"]
)
def test_one_cell_is_one_recipient(opened, refused, cell):
    assert [column for _, column, _ in refused(opened(f"email\n{cell}\n"))] == ["email"]


def test_a_required_cell_may_not_be_empty(opened, refused):
    reader = opened(
        "email,First Name\na@example.com,\nb@example.com,  \nc@example.com,C\n", required=["first_name"]
    )

    assert refused(reader) == [
        (2, "First Name", "this cell is empty, but required"),
        (3, "First Name", "this cell is empty, but required"),
    ]


def test_a_cell_of_the_wrong_type_names_its_column(opened, refused):
    reader = opened(
        "email,n,d\na@example.com,1,2025-01-01\nb@example.com,x,\nc@example.com,,1.2.2025\n",
        types={"n": "integer", "d": "date"},
    )

    assert refused(reader) == [(3, "n", "not a whole number"), (4, "d", "not a date like 2025-11-30")]


def test_cells_stay_text_whatever_their_type(opened):
    (entry,) = opened("email,n\na@example.com,007\n", types={"n": "integer"})

    assert entry.cells["n"] == "007"


def test_examining_is_the_same_in_another_process(opened):
    reader = opened(
        "email,n\na@example.com,5\nnobody,7\nc@example.com,1\n", types={"n": "integer"}, where="n > 2"
    )
    (chunk,) = reader.chunks()
    travelled = pickle.loads(pickle.dumps(reader.examiner))

    here, there = reader.examiner(chunk), travelled(pickle.loads(pickle.dumps(chunk)))
    assert here == there
    assert ([type(entry) for entry in here.entries], here.filtered) == ([Recipient, Invalid], 1)


def test_chunks_are_bounded_in_rows_and_characters(opened):
    reader = opened("email,x\n" + "a@example.com,1\n" * 25 + f"b@example.com,{'x' * 900_000}\n" * 9)

    assert [len(chunk.rows) for chunk in reader.chunks(rows=12)] == [12, 12, 6, 4]


@pytest.mark.parametrize(
    ("type_name", "text", "value"),
    [
        ("text", " 01234 ", " 01234 "),
        ("integer", " -42 ", -42),
        ("integer", "007", 7),
        ("decimal", "1234.50", Decimal("1234.50")),
        ("decimal,", "1.234,56", Decimal("1234.56")),
        ("decimal,", "1234,5", Decimal("1234.5")),
        ("date", "2025-11-30", date(2025, 11, 30)),
        ("date:%d.%m.%Y", "30.11.2025", date(2025, 11, 30)),
        ("date:%m/%d/%Y", "11/30/2025", date(2025, 11, 30)),
        ("datetime", "2025-11-30T09:15", datetime.fromisoformat("20251130T0915")),
        ("datetime:%d.%m.%Y %H:%M", "30.11.2025 09:15", datetime.fromisoformat("20251130T0915")),
        ("boolean", "Yes", True),
        ("boolean", "off", False),
        ("integer", "  ", ""),
        ("date", "", ""),
    ],
)
def test_types_convert(type_name, text, value):
    validate_type(type_name)

    assert convert(type_name, text) == value


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("integer", "1.0"),
        ("integer", "1_000"),
        ("integer", "٣"),
        ("integer", "9" * 5000),
        ("decimal", "1,234.56"),
        ("decimal", "NaN"),
        ("decimal", "1e999999999"),
        ("decimal,", "1234.56"),
        ("decimal,", "12.34,5"),
        ("date", "30.11.2025"),
        ("date:%d.%m.%Y", "2025-11-30"),
        ("date", "2025-02-30"),
        ("datetime", "gestern"),
        ("boolean", "maybe"),
    ],
)
def test_types_refuse_without_repeating_the_cell(type_name, text):
    with pytest.raises(ValueError) as caught:
        convert(type_name, text)

    assert text not in str(caught.value)


@pytest.mark.parametrize(
    "type_name", ["number", "", "integer:3", "date:", "date:%d", "date:%Q", "date:%Y", "text:x"]
)
def test_a_type_that_does_not_exist_is_refused(type_name):
    with pytest.raises(ValueError):
        validate_type(type_name)
