from __future__ import annotations

import codecs

import pytest

GERMAN = "email;name\nann@example.com;Jörg Groß\nbob@example.com;Zoë Müller\n"
POLISH = "email;name\nann@example.com;Łukasz Żółć\nbob@example.com;Małgorzata Wiśniewska\n"
RUSSIAN = "email;name\nann@example.com;Иван Петров\nbob@example.com;Мария Иванова\n"
JAPANESE = "email;name\nann@example.com;田中太郎\nbob@example.com;鈴木花子\n"


def names(reader):
    return [entry.cells["name"] for entry in reader]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (GERMAN.encode("utf-8"), GERMAN),
        (codecs.BOM_UTF8 + GERMAN.encode("utf-8"), GERMAN),
        (codecs.BOM_UTF16_LE + GERMAN.encode("utf-16-le"), GERMAN),
        (codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), GERMAN),
        (codecs.BOM_UTF32_LE + GERMAN.encode("utf-32-le"), GERMAN),
        (GERMAN.encode("cp1252"), GERMAN),
        (GERMAN.encode("latin-1"), GERMAN),
        (POLISH.encode("cp1250"), POLISH),
        (RUSSIAN.encode("cp1251"), RUSSIAN),
        (JAPANESE.encode("cp932"), JAPANESE),
    ],
    ids=["utf8", "utf8-bom", "utf16le", "utf16be", "utf32", "cp1252", "latin1", "cp1250", "cp1251", "cp932"],
)
def test_the_usual_encodings_are_found(opened, content, text):
    expected = [line.split(";")[1] for line in text.splitlines()[1:]]

    assert names(opened(content)) == expected


@pytest.mark.parametrize(
    "words", ["Müller", "Søren Ærø", "Hélène – l’été", "Íñigo Peña", "12 €", "Conceição"]
)
def test_one_western_name_is_enough(opened, words):
    reader = opened(f"email;name\nann@example.com;{words}\n".encode("cp1252"))

    assert names(reader) == [words]
    assert reader.described == "CSV, semicolon, Windows-1252"


def test_the_byte_order_mark_is_not_part_of_the_first_header(opened):
    assert opened(codecs.BOM_UTF8 + b"email\nann@example.com\n").columns.headers == ("email",)


def test_a_mark_is_honoured_also_when_utf8_is_declared(opened):
    reader = opened(codecs.BOM_UTF8 + GERMAN.encode(), encoding="UTF-8")

    assert reader.columns.headers == ("email", "name")


def test_a_declared_encoding_wins_over_the_guess(opened):
    content = "email;name\nann@example.com;Şükrü Yılmaz\n".encode("cp1254")

    assert names(opened(content, encoding="cp1254")) == ["Şükrü Yılmaz"]


def test_a_late_foreign_byte_stops_at_its_line_and_offers_the_encoding(stopped):
    plain = b"email;name\n" + b"ann@example.com;Ann\n" * 60_000
    error = stopped(plain + b"bob@example.com;J\xf6rg\nzoe@example.com;Zoe\n", unique=False)

    assert (error.line, error.message) == (60_002, "a byte here is not UTF-8")
    assert 'encoding = "cp1252"' in error.hint


def test_a_character_cut_by_the_end_of_the_sample_is_no_foreign_byte(opened):
    content = b"email;name\nann@example.com;" + b"x" * 999_972 + "öö".encode() + b"\n"
    assert 999_999 < content.index("öö".encode()) + 1 <= 1_000_000

    assert [len(name) for name in names(opened(content))] == [999_974]


def test_one_stray_byte_does_not_turn_utf8_into_something_else(stopped):
    error = stopped("email;name\nann@example.com;Jörg Groß\n".encode() + b"bob@example.com;J\xf6rg\n")

    assert (error.line, error.message) == (3, "a byte here is not UTF-8")


def test_a_file_cut_inside_a_character_is_a_question(stopped):
    assert "encoding cannot be told" in str(stopped(b"email;name\nann@example.com;Andr\xc3"))


@pytest.mark.parametrize("name", ["utf-9", "rot13", "hex", "unicode_escape", "idna", "ä", ""])
def test_an_unknown_encoding_is_named(stopped, name):
    assert f"unknown encoding {name!r}" in str(stopped(GERMAN, encoding=name))


def test_a_wrongly_declared_encoding_stops_at_the_line(stopped):
    error = stopped("email;name\nann@example.com;Ann\nbob@example.com;Ж\n", encoding="ascii")

    assert (error.line, error.message) == (3, "a byte here is not ascii")


def test_noise_is_a_question_not_a_guess(stopped):
    noise = bytes(range(128, 256)) * 40

    assert "encoding cannot be told" in str(stopped(b"email;name\nann@example.com;" + noise + b"\n"))


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["Ann", "Jörg Łukasz"])
def test_utf16_without_a_mark_is_known_by_its_zeros(opened, codec, name):
    text = f"email;name\nann@example.com;{name}\n"
    reader = opened(text.encode(codec))

    assert [entry.cells["name"] for entry in reader] == [name]
    assert reader.described == "CSV, semicolon, UTF-16"


def test_a_stray_zero_is_no_utf16(stopped):
    error = stopped(b"email;name\nann@example.com;A\0nn\n")

    assert (error.line, error.message) == (2, "there is a NUL byte here")
