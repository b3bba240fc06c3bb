from __future__ import annotations

import pytest

from mailer.errors import RecipientsError


def test_the_first_with_an_address_wins(opened, refused, people):
    reader = opened("email,n\nann@example.com,1\nbob@example.com,2\n Ann@EXAMPLE.com,3\nann@example.com,4\n")

    assert [entry.cells["n"] for entry in people(reader)] == ["1", "2"]
    assert refused(reader) == [(4, "email", "duplicate of line 2"), (5, "email", "duplicate of line 2")]


def test_a_row_that_is_not_taken_is_nobodys_first(opened, people):
    text = "email,plan,n\nann@example.com,free,1\nann@example.com,pro,x\nann@example.com,pro,3\n"
    reader = opened(text, where="plan == 'pro'", types={"n": "integer"})

    assert [entry.line for entry in people(reader)] == [4]


def test_unique_may_be_several_columns(opened, refused):
    text = "E-mail,invoice\na@example.com,1\nA@example.com, 1 \na@example.com,2\nb@example.com,1\n"

    assert refused(opened(text, unique=["email", "invoice"])) == [(3, "E-mail", "duplicate of line 2")]
    assert refused(opened(text, unique=["invoice"])) == [
        (3, "E-mail", "duplicate of line 2"),
        (5, "E-mail", "duplicate of line 2"),
    ]


@pytest.mark.parametrize("unique", [False, []])
def test_unique_may_be_nothing(opened, people, unique):
    assert len(people(opened("email\na@example.com\na@example.com\n", unique=unique))) == 2


def test_duplicates_are_found_across_chunks_and_in_order(opened, refused):
    rows = [f"user{number % 2_500}@example.com" for number in range(3_000)]
    found = refused(opened("email\n" + "\n".join(rows) + "\n"))

    assert [line for line, _, _ in found] == list(range(2_502, 3_002))
    assert found[0][2] == "duplicate of line 2"
    assert found[-1][2] == "duplicate of line 501"


def test_a_duplicate_keeps_its_cells_and_ordinal(opened):
    _, again = opened("email,n\na@example.com,1\na@example.com,=2\n")

    assert (again.ordinal, list(again.cells)) == (2, ["a@example.com", "=2"])


def test_excluded_addresses_are_counted_and_left_out(opened, people, tmp_path):
    (tmp_path / "left.csv").write_text("Kunde;E-Mail\nB;BOB@example.com\nX;nobody\nY\n", encoding="utf-8")
    (tmp_path / "bounced.jsonl").write_text('{"recipient": "zoe@example.com"}\n', encoding="utf-8")
    reader = opened(
        "email\nann@example.com\nbob@example.com\nnobody\nzoe@example.com\nbob@example.com\nann@example.com\n",
        exclude=[tmp_path / "left.csv", tmp_path / "bounced.jsonl"],
    )

    assert [entry.address.addr for entry in people(reader)] == ["ann@example.com"]
    assert (reader.tally.valid, reader.tally.invalid, reader.tally.excluded) == (1, 2, 3)


def test_an_excluded_list_may_call_the_address_as_the_list_does(opened, people, tmp_path):
    (tmp_path / "no.csv").write_text("Kontakt,X\na@example.com,1\n", encoding="utf-8")
    reader = opened(
        "Kontakt\na@example.com\nb@example.com\n", columns={"email": "Kontakt"}, exclude=[tmp_path / "no.csv"]
    )

    assert [entry.address.addr for entry in people(reader)] == ["b@example.com"]


@pytest.mark.parametrize(
    "content", ["b@example.com\nA@example.COM\n", "x,b@example.com\n\n-,a@example.com\n"]
)
def test_an_excluded_list_needs_no_header(opened, people, tmp_path, content):
    (tmp_path / "no.txt").write_text(content, encoding="utf-8")
    reader = opened("email\na@example.com\nb@example.com\nc@example.com\n", exclude=[tmp_path / "no.txt"])

    assert [entry.address.addr for entry in people(reader)] == ["c@example.com"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Telefon\n123\n", "no column looks like the e-mail address"),
        ('email\n"a@example.com\n', "a quote opens here"),
    ],
)
def test_an_excluded_list_that_cannot_be_read_stops(opened, tmp_path, content, words):
    (tmp_path / "no.csv").write_text(content, encoding="utf-8")

    with pytest.raises(RecipientsError, match=words) as caught:
        list(opened("email\na@example.com\n", exclude=[tmp_path / "no.csv"]))
    assert caught.value.file == str(tmp_path / "no.csv")


def test_keys_of_an_earlier_list_can_be_known(opened):
    reader = opened("email\na@example.com\nb@example.com\n")
    with reader.sieve() as sieve:
        sieve.known((f"{name}@example.com", 77) for name in "bcd")
        entries = [entry for chunk in reader.chunks() for entry in sieve(reader.examiner(chunk))]

    assert entries[0].key == "a@example.com"
    assert entries[1].reason == "duplicate of line 77"


def test_a_reader_starts_over(opened, people):
    reader = opened("email\na@example.com\n")

    assert people(reader) == people(reader)
    assert reader.tally.valid == 1
