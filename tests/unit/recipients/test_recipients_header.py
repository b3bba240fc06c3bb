from __future__ import annotations

import pytest

from mailer.campaigns.recipients.header import find_address_column


@pytest.mark.parametrize(
    "header",
    [
        "email",
        "E-Mail",
        "EMAIL ADDRESS",
        "e_mail",
        "E-mail address",
        "Mail",
        "Recipient",
        "Correo electrónico",
        "Adresse e-mail",
        "E-Mail-Adresse",
        "Courriel",
        "Электронная почта",
        "メール",
        "邮箱",
    ],
)
def test_the_usual_names_of_the_address_are_known(opened, header):
    reader = opened(f"name,{header}\nAnn,ann@example.com\n")

    assert [entry.address.addr for entry in reader] == ["ann@example.com"]


def test_the_more_usual_name_wins():
    assert find_address_column(["recipient", "name", "Email"], None, None) == 2


def test_two_equally_usual_names_are_a_question(stopped):
    error = stopped("E-mail,email\na@example.com,b@example.com\n")

    assert error.message == "both 'E-mail' and 'email' could be the e-mail address"
    assert '[columns]\n  email = "E-mail"' in error.hint


def test_without_an_address_column_the_error_shows_what_to_write(stopped):
    error = stopped("Kunde,Telefon\nAnn,123\n")

    assert (error.line, error.message) == (1, "no column looks like the e-mail address")
    assert error.hint == (
        "Columns: 'Kunde', 'Telefon'. If one of them holds addresses, name it in the campaign file:"
        '\n  [columns]\n  email = "its name"\nor by an option: --column "email=its name"'
    )


def test_a_mapped_column_is_the_address(opened):
    reader = opened(
        "email,Kontakt,Rufname\nold@example.com,new@example.com,Ann\n",
        columns={"email": "Kontakt", "name": "rufname"},
    )
    (entry,) = reader

    assert (entry.address.addr, entry.name) == ("new@example.com", "Ann")
    assert reader.columns.email == 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"email": "Mail"}, "[columns] email = 'Mail', but there is no such column"),
        ({"name": "Nom"}, "[columns] name = 'Nom', but there is no such column"),
        ({"zip": "email"}, "[columns] knows email, language, name, not 'zip'"),
    ],
)
def test_a_mapping_to_nothing_stops(stopped, columns, words):
    assert words in str(stopped("email\nann@example.com\n", columns=columns))


def test_spaces_around_headers_go(opened):
    reader = opened(" email ,\tFirst Name \nann@example.com,Ann\n", delimiter=",")

    assert reader.columns.headers == ("email", "First Name")
    assert reader.columns.identifiers == ("email", "first_name")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("email,name,name", "columns 2 and 3 are both called 'name'"),
        ("email,name, name ", "columns 2 and 3 are both called 'name'"),
        ("email,First Name,first-name", "'First Name' and 'first-name' would both be {{ first_name }}"),
        ("email,,name", "column 2 has no name"),
        ("email,name,", "column 3 has no name"),
    ],
)
def test_a_header_that_cannot_be_used_stops(stopped, header, words):
    error = stopped(f"{header}\nann@example.com,x,y\n")

    assert words in error.message
    assert error.line == 1


def test_a_file_without_a_header_is_recognised(stopped):
    error = stopped("ann@example.com,Ann\nbob@example.com,Bob\n")

    assert (error.line, error.message) == (1, "the first row holds an address, so the file has no header")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"required": ["nam"]}, "required: there is no column 'nam'"),
        ({"types": {"nam": "integer"}}, "types: there is no column 'nam'"),
        ({"unique": ["email", "nam"]}, "unique: there is no column 'nam'"),
        ({"types": {"name": "number"}}, "types: unknown type 'number', expected one of: 'text'"),
    ],
)
def test_a_setting_for_a_column_that_is_not_there_stops(stopped, source, words):
    assert words in str(stopped("email,name\nann@example.com,Ann\n", **source))
