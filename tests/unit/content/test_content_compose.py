"""One row becomes one message that says what was meant, the same on every attempt."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.address import UNSAFE
from mailer.content import compile as compile_mail
from mailer.content.contract import Identity, MailSpec, Package
from mailer.errors import ContentError, TemplateError

_SPEC = importlib.util.spec_from_file_location("reading", Path(__file__).with_name("reading.py"))
reading = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reading)

IDENTITY = Identity("<7.1@mailer.example>", 1_763_683_200.0, "7/1")
SENDER = "Acme News <news@acme.example>"


def mail(files, files_root=None, **spec):
    given = {"sender": SENDER, "subject": "Hello"} | spec
    package = Package("mail", {f"mail/{name}": text.encode() for name, text in files.items()})
    return compile_mail(package, MailSpec(**given), files_root=files_root)


def composed(composer, row, to="ann@acme.example", **more):
    return composer.compose(row, to, IDENTITY, **more)


CELL = st.text(st.characters(codec="utf-8"), max_size=60)


@given(CELL, CELL)
@example("Bcc: evil@acme.example", "a\r\nBcc: evil@acme.example\r\n\r\nbody")
@example("=?utf-8?q?a=0ABcc=3A_evil=40x?=", "--=_0\r\n.\r\n")
@example("a@b, c@d", "{{ 7 * 7 }}{% raw %}")
@example("<script>", "\r\n.\r\nMAIL FROM:<x>")
@example("Zoë\xa0Ångström", "日本\u3000語")
def test_any_cells_are_read_back_or_refused(name, text):
    composer = mail(
        {"body.html": "<p>{{ text }}</p><i title='{{ name }}'></i>", "body.txt": "{{ text }}|{{ name }}\n"},
        subject="{{ name }}, hello",
        name_column="name",
    )
    try:
        made = composed(composer, {"Name": name, "text": text})
    except ContentError:
        assert UNSAFE.search(name) or "=?" in name
        return

    assert made == composed(composer, {"Name": name, "text": text})
    message = reading.read(made.data)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert (
        reading.text_of(message, "plain")
        == f"{plain}|{name}".replace("\r\n", "\n").replace("\r", "\n") + "\n"
    )
    assert str(message["Subject"]) == f"{name}, hello".strip(" ")
    assert [one.addr_spec for one in message["To"].addresses] == ["ann@acme.example"]
    assert made.recipients == ("ann@acme.example",)
    assert reading.header_names(made.data) == [
        "Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type",
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["subject", "headers", "reply_to", "cc", "list_unsubscribe", "name_column"])
@pytest.mark.parametrize("cell", ["x\r\nBcc: evil@acme.example", "x\nY: z", "x\x00", "x\x85y", "x\u2028y"])
def test_a_cell_cannot_break_out_of_a_header(where, cell):
    forms = {
        "subject": "{{ c }}",
        "headers": {"X-Ref": "{{ c }}"},
        "reply_to": ["{{ c }} <a@acme.example>"],
        "cc": ["{{ c }} <a@acme.example>"],
        "list_unsubscribe": ["https://acme.example/{{ c }}"],
        "name_column": "c",
    }
    composer = mail({"body.txt": "hello"}, **{where: forms[where]})

    with pytest.raises(ContentError) as caught:
        composed(composer, {"c": cell})
    assert caught.value.column


def test_the_culprit_cell_is_named():
    with pytest.raises(ContentError, match='stands in: "Company Name"'):
        composed(mail({"body.txt": "x"}, subject="{{ company_name }}"), {"Company Name": "a\nb"})


def test_the_tree_holds_one_level_per_need(tmp_path):
    (tmp_path / "terms.pdf").write_bytes(b"terms")
    (tmp_path / "bill 7.pdf").write_bytes(b"bill")
    files = {"body.html": "<img src='logo.png' alt='x'>", "body.txt": "t", "logo.png": "PNG"}
    composer = mail(files, tmp_path, attachments=["terms.pdf", "bill {{ no }}.pdf"])
    row = {"no": "7"}

    made = composed(composer, row, files=composer.row_files(row))

    message = reading.read(made.data)
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html",
        "image/png", "application/pdf", "application/pdf",
    ]  # fmt: skip
    attached = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
    assert attached == {"terms.pdf": b"terms", "bill 7.pdf": b"bill"}
    image = next(part for part in message.walk() if part.get_content_type() == "image/png")
    assert f"cid:{image['Content-ID'][1:-1]}" in reading.text_of(message, "html")


def test_text_alone_has_no_multipart():
    message = reading.read(composed(mail({"body.txt": "only\n"}), {}).data)

    assert (message.get_content_type(), reading.text_of(message, "plain")) == ("text/plain", "only\n")


def test_copies_are_recipients_and_only_cc_is_a_header():
    composer = mail(
        {"body.txt": "x"},
        cc=["{{ boss }}", "Team <team@acme.example>"],
        bcc=["archive@acme.example", "ANN@acme.example"],
    )

    made = composed(composer, {"boss": ""})

    assert made.recipients == ("ann@acme.example", "team@acme.example", "archive@acme.example")
    assert b"archive" not in made.data
    assert str(reading.read(made.data)["Cc"]) == "Team <team@acme.example>"


def test_all_headers_in_their_order():
    composer = mail(
        {"body.txt": "x"},
        envelope_sender="bounces@acme.example",
        reply_to=["help@acme.example"],
        list_id="News <news.acme.example>",
        list_unsubscribe=["https://acme.example/u/{{ id }}", "mailto:off@acme.example"],
        one_click=True,
        auto_submitted="auto-generated",
        headers={"In-Reply-To": "<1@acme.example>", "X-Grosse": "Größe {{ id }}"},
    )

    made = composed(composer, {"id": "7"})

    assert made.sender == "bounces@acme.example"
    message = reading.read(made.data)
    assert [(name, str(value)) for name, value in message.items()][:14] == [
        ("Date", "Fri, 21 Nov 2025 00:00:00 +0000"),
        ("From", SENDER),
        ("To", "ann@acme.example"),
        ("Reply-To", "help@acme.example"),
        ("Subject", "Hello"),
        ("Message-ID", "<7.1@mailer.example>"),
        ("MIME-Version", "1.0"),
        ("List-Unsubscribe", "<https://acme.example/u/7>, <mailto:off@acme.example>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Id", "News <news.acme.example>"),
        ("Auto-Submitted", "auto-generated"),
        ("In-Reply-To", "<1@acme.example>"),
        ("X-Grosse", "Größe 7"),
        ("Content-Type", 'text/plain; charset="utf-8"'),
    ]


@pytest.mark.parametrize(
    "name", ["Subject", "bcc", "Content-Type", "DATE", "List-Unsubscribe", "Resent-To", "a b", "x:"]
)
def test_structural_headers_are_not_free(name):
    with pytest.raises(ContentError):
        mail({"body.txt": "x"}, headers={name: "y"})


def test_smtputf8_only_when_an_address_needs_it():
    composer = mail({"body.txt": "Grüße"}, name_column="name")

    assert not composed(composer, {"name": "Jörg"}, to="jorg@bücher.example").smtputf8
    made = composed(composer, {"name": "Jörg"}, to="jörg@bücher.example")
    assert (made.smtputf8, made.eight_bit) == (True, True)
    assert made.recipients == ("jörg@xn--bcher-kva.example",)


def test_typed_cells_and_original_names():
    composer = mail(
        {
            "body.txt": '{{ amount * 2 }} {{ row["Amount"] > 3 }} {{ row["First Name"] }} {{ vip }} '
            '{{ empty|default("none") }}'
        },
        types={"amount": "decimal", "vip": "boolean", "empty": "integer"},
    )

    made = composed(composer, {"Amount": "2.50", "First Name": "Ann", "VIP": "yes", "empty": ""})

    assert reading.text_of(reading.read(made.data), "plain") == "5.00 False Ann True none\n"
    assert composer.used() >= {"amount", "first_name", "vip", "empty"}
    with pytest.raises(ContentError, match=r"column 'Amount': cannot read 'x': not a number"):
        composed(composer, {"Amount": "x", "First Name": "", "VIP": "", "empty": ""})


@pytest.mark.parametrize(
    ("kind", "cell", "source", "shown"),
    [
        ("decimal,", "1.234,50", '{{ v|money("EUR", locale="de") }}', "1.234,50\xa0€"),
        (
            "decimal",
            "1234.5",
            "{{ v|number }} {{ v|number(2) }} {{ (v/10000)|percent(1) }}",
            "1,234.5 1,234.50 12.3%",
        ),
        ("date:%d.%m.%Y", "21.11.2025", '{{ v|date("long") }}', "November 21, 2025"),
        ("date", "2025-11-21", '{{ v|date(locale="de") }} {{ v.year }}', "21.11.2025 2025"),
        ("datetime", "2025-11-21T09:30", '{{ v|datetime("yyyy-MM-dd HH:mm z") }}', "2025-11-21 09:30 +0100"),
        ("datetime", "2025-11-21T09:30Z", '{{ v|datetime("HH:mm") }} {{ v < now() }}', "10:30 False"),
        ("integer", "", "[{{ v|number }}{{ v|date }}{{ v|money('EUR') }}]", "[]"),
        ("text", "2025-11-21", '{{ v|date("dd.MM.") }}', "21.11."),
    ],
)
def test_types_and_filters(kind, cell, source, shown):
    composer = mail({"body.txt": source}, types={"v": kind}, timezone="Europe/Berlin")

    made = composed(composer, {"V": cell})

    assert reading.text_of(reading.read(made.data), "plain").replace("\u202f", " ") == shown + "\n"


def test_cells_of_json_rows_keep_their_types():
    composer = mail({"body.txt": "{{ n + 1 }} {{ l|length }} {{ missing|default('none') }} {{ o.a }}"})

    made = composed(composer, {"n": 1, "l": [1, 2], "missing": None, "o": {"a": "b"}})

    assert reading.text_of(reading.read(made.data), "plain") == "2 2 none b\n"


def test_an_unknown_name_says_where_and_what_there_is():
    composer = mail({"body.html": "<p>\n\n{{ fist_name }}</p>"})

    with pytest.raises(ContentError) as caught:
        composed(composer, {"First Name": "Ann", "city": ""})

    assert str(caught.value) == (
        "mail/body.html, line 3: there is no 'fist_name'\n"
        "  Did you mean 'first_name'? There is: city, first_name"
    )


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{% if x %}", 2, "Unexpected end of template"),
        ("a\n\n{{ x | nofilter }}", 3, "No filter named 'nofilter'"),
        ("\n{% include 'gone.html' %}", 2, "'gone.html', which does not exist"),
        ("<style>\n@media x {#a {}}</style>", 2, "put a space"),
        ("<p>\n<img src='gone.png'>", 2, "image 'gone.png' does not exist"),
        ("{{ 'a' | random }}", 1, "No filter named 'random'"),
        ("\n{{ x | moneyy('EUR') }}", 2, "No filter named 'moneyy'.\n  Did you mean 'money'?"),
        ("<style>\na{%color:red%}</style>", 2, "put a space or a line break between '{' and '%'"),
    ],
)
def test_a_wrong_template_is_refused_with_its_line(source, line, words):
    with pytest.raises(TemplateError, match=words) as caught:
        composed(mail({"body.html": source}), {"x": "1"})

    assert (caught.value.file, caught.value.line) == ("mail/body.html", line)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'A' * 10**9 }}",
        "{{ 2 ** (10 ** 9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10**9) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a\n' | indent(1000000000) }}",
        "{{ ('a' * 900000) | wordwrap(1) }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in range(20) %}{{ 'a' * 999999 }}{% endfor %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ row.__class__ }}",
        "{{ lipsum(5) }}",
        "{{ row.update({}) }}",
        "{{ 1 / 0 }}",
        "{{ amount > 3 }}",
        "{{ 'javascript:alert(1)' | safe_url }}",
    ],
)
def test_a_template_that_runs_away_is_a_content_error(source):
    with pytest.raises(ContentError):
        composed(mail({"body.txt": source}), {"amount": ""})


@pytest.mark.parametrize(
    ("source", "name"), [("{{ now }}", "now"), ("{{ x.upper }}", "upper"), ("{{ row.keys }}", "keys")]
)
def test_a_function_without_its_parentheses_is_not_written(source, name):
    for where in ({"body.txt": source}, {"body.html": source}):
        with pytest.raises(ContentError, match=rf"'{name}' is a function: write {name}\(\)"):
            composed(mail(where), {"x": "a"})
    with pytest.raises(ContentError, match="is a function"):
        composed(mail({"body.txt": "x"}, subject=source), {"x": "a"})


def test_cells_are_data_and_never_templates():
    composer = mail({"body.txt": "{{ a }}", "body.html": "{{ a }}"}, subject="{{ a }}")

    message = reading.read(composed(composer, {"a": "{{ 7 * 7 }}<b>"}).data)

    assert str(message["Subject"]) == "{{ 7 * 7 }}<b>"
    assert reading.text_of(message, "plain") == "{{ 7 * 7 }}<b>\n"
    assert reading.text_of(message, "html") == "{{ 7 * 7 }}&lt;b&gt;\n"


def test_a_language_variant_has_its_own_words_and_numbers():
    composer = mail(
        {
            "body.txt": "Total {{ n|number }}",
            "body.de.txt": "Summe {{ n|number }}",
            "mail.toml": 'subject = "Bill"\n[languages.de]\nsubject = "Rechnung"\n',
        },
        subject=None,
        types={"n": "decimal"},
    )

    def said(language):
        message = reading.read(composed(composer, {"n": "1234.5", "Language": language}).data)
        return str(message["Subject"]), reading.text_of(message, "plain")

    assert said("de") == said("de-AT") == ("Rechnung", "Summe 1.234,5\n")
    assert said("en") == said("") == ("Bill", "Total 1,234.5\n")


def test_attachments_are_those_that_were_recorded(tmp_path):
    (tmp_path / "7.txt").write_bytes(b"one")
    composer = mail({"body.txt": "x"}, tmp_path, attachments=["{{ no }}.txt"])
    files = composer.row_files({"no": "7"})

    (tmp_path / "7.txt").write_bytes(b"two")

    with pytest.raises(ContentError, match="has changed"):
        composed(composer, {"no": "7"}, files=files)


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "a/../../secret", "a\\b", "link", "door/x", "folder", "x\n"]
)
def test_attachments_stay_below_their_root(tmp_path, path):
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "files"
    (root / "folder").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "x").write_bytes(b"x")
    (root / "door").symlink_to(tmp_path)
    composer = mail({"body.txt": "x"}, root, attachments=["{{ path }}"])

    with pytest.raises(ContentError, match="attachment"):
        composer.row_files({"path": path})
    with pytest.raises(ContentError, match="attachment"):
        composed(composer, {"path": path})


def test_a_missing_attachment_is_named(tmp_path):
    composer = mail({"body.txt": "x"}, tmp_path, attachments=["bills/{{ no }}.pdf"])

    with pytest.raises(ContentError, match=r"attachment 'bills/8.pdf' cannot be read: No such file"):
        composer.row_files({"no": "8"})


def test_now_is_the_row_s_own_time():
    composer = mail({"body.txt": "{{ now()|date('yyyy-MM-dd') }} {{ now().hour }}"}, timezone="Asia/Tokyo")

    assert reading.text_of(reading.read(composed(composer, {}).data), "plain") == "2025-11-21 9\n"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"headers": {"Bcc": "x@acme.example"}}, "header 'Bcc': this header has its own setting"),
        ({"list_unsubscribe": ["x"]}, "header 'List-Unsubscribe': must be https:, http: or mailto:"),
    ],
)
def test_what_is_wrong_in_every_message_names_the_header(given, complaint):
    with pytest.raises(ContentError) as caught:
        mail({"body.txt": "x"}, **given)

    assert str(caught.value).startswith(complaint)


def test_an_image_elsewhere_is_named_as_it_can_be_written():
    with pytest.raises(TemplateError, match=r"'header.png' does not exist\n  .*img/header.png"):
        mail({"body.html": "<img src='header.png' alt=''>", "img/header.png": "x"})

    mail({"body.html": "<img src='img/header.png' alt=''>", "img/header.png": "x"})
