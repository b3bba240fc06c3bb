from __future__ import annotations

import io
import os
import resource
import stat

import pytest

from mailer.campaigns import recipients
from mailer.campaigns.recipients import Invalid, InvalidWriter, RecipientSource
from mailer.errors import RecipientsError

LIST = 'E-mail,Größe,note\na@example.com,1,\nnobody,=1+1,"two\nlines"\nb@example.com,2\n\n-,3,"a ""b"""\n'


def report(reader, path):
    with InvalidWriter(path, reader.columns.headers) as writer:
        for entry in reader:
            if isinstance(entry, Invalid):
                writer.write(entry)
    return writer


def test_invalid_rows_are_written_as_they_stood(opened, tmp_path):
    path = tmp_path / "news.invalid.csv"
    writer = report(opened(LIST), path)

    assert writer.rows == 4
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "line,column,reason,E-mail,Größe,note"
    assert lines[1].startswith('3,E-mail,"') or lines[1].startswith("3,E-mail,")
    assert lines[1].endswith('nobody,=1+1,"two')
    assert lines[3:5] == ["5,,2 cells instead of 3,b@example.com,2", "6,,blank line"]
    assert lines[5].endswith(',-,3,"a ""b"""')


def test_corrected_rows_are_read_back(opened, people, refused, tmp_path):
    path = tmp_path / "news.invalid.csv"
    report(opened(LIST), path)
    text = (
        path.read_text(encoding="utf-8")
        .replace("nobody", "c@example.com")
        .replace("b@example.com,2", "b@example.com,2,x")
    )
    path.write_text(text, encoding="utf-8")
    reader = recipients.open(RecipientSource(path, first_ordinal=5))

    assert reader.columns.headers == ("E-mail", "Größe", "note")
    assert [(entry.ordinal, entry.line, entry.cells) for entry in people(reader)] == [
        (5, 2, {"E-mail": "c@example.com", "Größe": "=1+1", "note": "two\nlines"}),
        (6, 4, {"E-mail": "b@example.com", "Größe": "2", "note": "x"}),
    ]
    assert [(line, column) for line, column, _ in refused(reader)] == [(5, None), (6, "E-mail")]


def test_what_is_still_wrong_can_be_reported_again(opened, tmp_path):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    report(opened("email,n\nnobody,1\na@example.com,2\nnobody either,3\n"), first)
    report(recipients.open(RecipientSource(first)), second)

    cells = [line.split(",")[3:] for line in second.read_text(encoding="utf-8").splitlines()]
    assert cells == [["email", "n"], ["nobody", "1"], ["nobody either", "3"]]


def test_the_report_is_for_its_owner_only(opened, tmp_path):
    old = os.umask(0)
    try:
        report(opened("email\nnobody\n"), tmp_path / "x.invalid.csv")
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "x.invalid.csv").stat().st_mode) == 0o600


def interrupted(path):
    with InvalidWriter(path, ["email"]) as writer:
        writer.write(Invalid(1, 2, None, "blank line", ()))
        raise KeyboardInterrupt


def test_an_earlier_report_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x.invalid.csv"
    path.write_text("earlier", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)

    assert [file.name for file in tmp_path.iterdir()] == ["x.invalid.csv"]
    assert path.read_text(encoding="utf-8") == "earlier"


def filled(path):
    with InvalidWriter(path, ["email"]) as writer:
        for _ in range(1000):
            writer.write(Invalid(1, 2, None, "blank line", ("x" * 1000,)))


def test_a_full_disk_leaves_no_half_of_a_report(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RecipientsError, match="cannot be written: File too large"):
            filled(tmp_path / "x.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list(tmp_path.iterdir()) == []


def test_without_invalid_rows_an_earlier_report_goes(tmp_path):
    path = tmp_path / "x.invalid.csv"
    path.write_text("earlier", encoding="utf-8")
    with InvalidWriter(path, ["email"]):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_matters_with_the_first_invalid_row_only(tmp_path):
    with InvalidWriter(tmp_path / "nowhere" / "x.csv", ["email"]):
        pass
    with (
        InvalidWriter(tmp_path / "nowhere" / "x.csv", ["email"]) as writer,
        pytest.raises(RecipientsError, match="invalid rows cannot be written: No such file"),
    ):
        writer.write(Invalid(1, 2, None, "blank line", ()))


def test_a_list_may_begin_with_line_column_reason_itself(opened):
    (entry,) = opened("line,column,email\n1,2,a@example.com\n")

    assert list(entry.cells) == ["line", "column", "email"]


def test_standard_input_is_spooled_for_its_owner_only(tmp_path, people):
    path = recipients.spool(io.BytesIO(b"email\na@example.com\n"), tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.line for entry in recipients.open(RecipientSource(path))] == [2]


def test_empty_standard_input_leaves_nothing(tmp_path):
    with pytest.raises(RecipientsError, match="standard input is empty"):
        recipients.spool(io.BytesIO(), tmp_path)
    assert list(tmp_path.iterdir()) == []


class Full(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_nothing(tmp_path):
    with pytest.raises(RecipientsError, match="No space left on device"):
        recipients.spool(Full(), tmp_path)
    assert list(tmp_path.iterdir()) == []
