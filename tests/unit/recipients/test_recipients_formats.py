from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from datetime import date, datetime, time

import openpyxl
import pytest


def lines(*objects):
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)


def workbook(*rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".data"])
def test_json_lines_are_rows(opened, suffix):
    reader = opened(
        lines({"email": "a@example.com", "name": "Ä"}, {"name": "B", "email": "b@example.com"}), suffix
    )

    assert [entry.cells for entry in reader] == [
        {"email": "a@example.com", "name": "Ä"},
        {"email": "b@example.com", "name": "B"},
    ]
    assert reader.described == "JSON Lines, UTF-8"


def test_json_values_become_the_text_they_were_written_with(opened):
    text = '{"email": "a@example.com", "n": 1.10, "i": 12345678901234567890123, '
    text += '"t": true, "z": null, "l": [1, {"a": 2.0}]}\n'
    (entry,) = opened(text, ".jsonl")

    assert list(entry.cells.values())[1:] == [
        "1.10",
        "12345678901234567890123",
        "true",
        "",
        '[1, {"a": 2.0}]',
    ]


def test_json_rows_that_do_not_fit_are_invalid(opened, refused):
    text = lines({"email": "a@example.com", "n": "1"}, {"email": "b@example.com"})
    text += '{"email": "c@example.com", "x": 1}\n{"email": \n[1]\n'
    text += '{"email": "d@example.com", "email": "e@example.com"}\n'
    text += '{"email": "f@example.com", "n": NaN}\n\n{"email": "g@example.com", "n": "\\ud800"}\n'
    text += '{"email": "g@example.com", "n": "\\u0000"}\n' + '{"email":' + "[" * 100_000 + "\n\n"

    assert [(line, reason.partition(":")[0]) for line, _, reason in refused(opened(text, ".jsonl"))] == [
        (3, "the key 'x' is not in the first object of the file"),
        (4, "not JSON"),
        (5, "not a JSON object"),
        (6, "a key stands twice in the object"),
        (7, "NaN is not a JSON number"),
        (8, "blank line"),
        (9, "a NUL or half a character (surrogate) is escaped here"),
        (10, "a NUL or half a character (surrogate) is escaped here"),
        (11, "the object is nested too deeply"),
    ]


@pytest.mark.parametrize("text", ['[{"email": "a@example.com"}]\n', "email\na@example.com\n", "{}\n", "\n"])
def test_a_file_that_is_not_json_lines_stops(stopped, text):
    assert stopped(text, ".jsonl").message


def test_a_workbook_is_read_as_text(opened):
    content = workbook(
        ["email", "n", "price", "day", "at", "hour", "yes", "zip"],
        [
            "a@example.com",
            3.0,
            2.5,
            date(2025, 11, 30),
            datetime.fromisoformat("20251130T0915"),
            time(8, 30),
            True,
            "01234",
        ],
    )
    (entry,) = opened(content, ".xlsx")

    assert list(entry.cells.values())[1:] == [
        "3",
        "2.5",
        "2025-11-30",
        "2025-11-30T09:15:00",
        "08:30:00",
        "true",
        "01234",
    ]


def test_a_workbooks_rows_keep_their_numbers(opened, refused, people):
    content = workbook(
        [],
        ["email", "n", None],
        ["a@example.com", 1],
        [],
        ["b@example.com"],
        ["x", 2, 3],
        ["c@example.com", "#N/A"],
        [" "],
        [],
    )
    reader = opened(content, ".xlsx")

    assert [(entry.line, entry.ordinal) for entry in people(reader)] == [(3, 1), (5, 3)]
    assert refused(reader) == [
        (4, None, "blank line"),
        (6, None, "3 cells instead of 2"),
        (7, None, "a cell holds the Excel error #N/A"),
    ]


def test_a_workbook_is_known_by_its_content(opened):
    assert opened(workbook(["email"], ["a@example.com"]), ".csv").described == "Excel workbook"


@pytest.mark.parametrize("rows", [[], [["email"]]])
def test_a_workbook_without_rows_stops(stopped, rows):
    assert stopped(workbook(*rows), ".xlsx").message in {
        "the first sheet is empty",
        "there are no recipients below the header",
    }


def test_a_damaged_workbook_stops(stopped):
    content = workbook(["email"], *[["a@example.com"]] * 500)

    assert "damaged" in str(stopped(content[:1000], ".xlsx"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"][:-200] + b"<oops"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    assert "damaged" in str(stopped(file.getvalue(), ".xlsx"))


def test_a_workbook_without_openpyxl_says_what_to_install(stopped, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)

    assert stopped(workbook(["email"]), ".xlsx").hint == 'pip install "mailer-worker[xlsx]"'


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            # Not made now: what processes collect, xdist compares, and the id of a test has these octets.
            archive.writestr(zipfile.ZipInfo(name), "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "an old or encrypted Excel workbook (.xls)"),
        (b"%PDF-1.7\n", "a PDF document"),
        (gzip.compress(b"email\n", mtime=0), "a gzip archive"),
        (zipped("list.csv"), "a ZIP archive"),
        (zipped("mimetype", "content.xml"), "an OpenDocument file"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "an HTML or XML page"),
        (b"PK\x03\x04oops", "a damaged ZIP file"),
        (b"", "the file is empty"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_foreign_files_are_called_by_their_name(stopped, content, words, suffix):
    assert words in str(stopped(content, suffix))


def test_a_csv_called_xlsx_is_no_workbook(stopped):
    assert stopped("email\na@example.com\n", ".xlsx").message == "this is not an Excel workbook"


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ""])
def test_an_array_of_objects_is_told_from_a_list(stopped, suffix):
    error = stopped('[{"email": "ann@example.com"}]', suffix)

    assert "one JSON array" in error.message
    assert "jq -c '.[]'" in error.hint


def test_an_unknown_format_and_a_missing_file_stop(stopped, opened, tmp_path):
    assert "unknown format 'xml', expected one of: csv" in str(stopped("email\n", format="xml"))

    from mailer.campaigns import recipients

    with pytest.raises(recipients.reader.RecipientsError, match="does not exist"):
        recipients.open(recipients.RecipientSource(tmp_path / "nowhere.csv"))
    with pytest.raises(recipients.reader.RecipientsError, match="cannot be read"):
        recipients.open(recipients.RecipientSource(tmp_path))
