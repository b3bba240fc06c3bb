"""A wrong campaign file is answered with its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailer.campaigns.durations import seconds
from mailer.campaigns.loading import from_options, load
from mailer.campaigns.spec import KEYS, OPTIONS, CampaignSpec
from mailer.campaigns.toml_lines import line_of
from mailer.errors import CampaignError

GOOD = 'template = "news"\nrecipients = "list.csv"\nfrom = "Acme <news@acme.example>"\n'
DOCS = Path(__file__).parents[3] / "docs" / "reference" / "campaign.md"


def written(folder: Path, text: str) -> Path:
    path = folder / "campaign.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str, **overrides: object) -> str:
    path = written(folder, text)
    with pytest.raises(CampaignError) as caught:
        load(path, overrides)
    return str(caught.value).replace(str(path), "campaign.toml")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('subjct = "x"', "campaign.toml, line 4: unknown key 'subjct'; did you mean 'subject'?"),
        ('file = "x"', "unknown key 'file'; known: name, from, subject, template"),
        (
            'rate = "fast"',
            'line 4: rate: \'fast\' is not a rate; write "20/s", "500/min", "10000/h" or "50000/d"',
        ),
        ('rate = "0/s"', "line 4: rate: '0/s' is not a rate"),
        ('cc = ["a@b.example", "c"]', "line 4: cc: 'c' is not an address. "),
        ('subject = "two\\nlines"', "line 4: subject: must be one line without control characters"),
        ("name = 5", "line 4: name: must be text"),
        ("one_click = 7", "line 4: one_click: must be true or false"),
        ('dsn = "sometimes"', "line 4: dsn: must be 'never', 'success', 'failure' or 'delay'"),
        ('dsn = ["never", "success"]', "line 4: dsn: 'never' stands alone"),
        ('delimiter = ";;"', "line 4: delimiter: must be one character"),
        ('on_unknown = "drop"', "line 4: on_unknown: must be 'hold' or 'retry'"),
        ('retry_budget = "4 fortnights"', 'line 4: retry_budget: not a length of time; write it like "90s"'),
        ('retry_budget = "73h"', 'line 4: retry_budget: must be at most "72h"'),
        ('expires_in = "0s"', "line 4: expires_in: a length of time must be more than nothing"),
        (
            'timezone = "Mars/Base"',
            "line 4: timezone: 'Mars/Base' is not a time zone; write it like 'Europe/Berlin'",
        ),
        ('locale = "klingon"', "line 4: locale: 'klingon' is not a locale; write it like 'de' or 'pt_BR'"),
        ('priority = "high"', "line 4: priority: must be a whole number"),
        ("recipients_per_task = 0", "line 4: recipients_per_task: must be greater than or equal to 1"),
        ('backend = "smtp://me:secret@host"', "line 4: backend: a URL with a password does not belong here"),
        ('[columns]\nemial = "Mail"', "campaign.toml, line 5: unknown key 'emial'; did you mean 'email'?"),
        (
            '[types]\nzip = "number"',
            "line 5: types.zip: unknown type 'number', expected one of: 'text', 'integer'",
        ),
        ('columns = "x"', "line 4: columns: must be KEY=VALUE"),
        ("name = ", "campaign.toml: not valid TOML: Invalid value (at line 4, column 8)"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, line, expected):
    assert expected in complaint(tmp_path, f"{GOOD}{line}\n")


def test_a_secret_is_not_repeated(tmp_path):
    assert "secret" not in complaint(tmp_path, f'{GOOD}backend = "smtp://me:secret@host"\n')


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    text = 'rate = "fast"\nsubjct = "x"\nfrom = "Acme"\n[types]\na = "b"\n'

    assert complaint(tmp_path, text).splitlines()[:5] == [
        "campaign.toml: 6 mistakes",
        "  template: is missing",
        "  recipients: is missing",
        '  line 1: rate: \'fast\' is not a rate; write "20/s", "500/min", "10000/h" or "50000/d"',
        "  line 2: unknown key 'subjct'; did you mean 'subject'?",
    ]


def test_a_mistake_in_an_option_is_named_by_the_option(tmp_path):
    text = complaint(tmp_path, GOOD + 'rate = "10/s"\n', rate="fast", types=["zip=number"])

    assert "--rate: 'fast' is not a rate" in text
    assert "--type.zip: unknown type 'number'" in text


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(CampaignError, match=r"No such file or directory\n  `mailer init` writes"):
        load(tmp_path / "none.toml")


def test_not_utf8(tmp_path):
    path = tmp_path / "campaign.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(CampaignError, match="not UTF-8"):
        load(path)


def test_a_campaign_without_a_file():
    spec = from_options(
        {
            "recipients": "list.csv",
            "template": "newsletter",
            "from": "a@b.example",
            "subject": None,
            "columns": ["email=Mail"],
            "types": ["due=date:%d.%m.%Y"],
            "headers": ["X-A=b=c"],
            "one_click": "true",
            "priority": "3",
            "unique": "false",
            "retry_schedule": ["2m", "1h"],
        }
    )

    assert spec.recipients == str(Path.cwd() / "list.csv")
    assert (spec.title, spec.file, spec.sender, spec.subject) == ("newsletter", None, "a@b.example", None)
    assert (spec.columns.email, spec.types, spec.headers) == (
        "Mail",
        {"due": "date:%d.%m.%Y"},
        {"X-A": "b=c"},
    )
    assert (spec.one_click, spec.priority, spec.unique) == (True, 3, ())
    assert spec.retry_schedule == (120.0, 3600.0)


def test_options_without_a_file_are_named_by_their_flags():
    with pytest.raises(CampaignError) as caught:
        from_options({"rate": "10/s"})

    assert str(caught.value) == "2 mistakes\n  --template: is missing\n  --to: is missing"


def test_paths_of_the_file_are_beside_it_and_those_of_options_are_here(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = written(tmp_path, f'{GOOD}exclude = ["gone.csv", "/abs.csv"]\n')

    assert load(path).exclude == (str(tmp_path / "gone.csv"), "/abs.csv")
    assert load(path).recipients == str(tmp_path / "list.csv")
    assert load(path, {"recipients": "other.csv"}).recipients == str(here / "other.csv")
    assert load(path, {"recipients": "-"}).reads_stdin


def test_options_win_and_tables_are_merged(tmp_path):
    path = written(tmp_path, f'{GOOD}rate = "1/s"\n[headers]\nX-A = "file"\nX-B = "file"\n')

    spec = load(path, {"rate": ["2/s", "50/d"], "headers": ["X-B=option"], "subject": None})

    assert spec.rate == ("2/s", "50/d")
    assert spec.headers == {"X-A": "file", "X-B": "option"}


def test_templates_are_allowed_where_an_address_is_expected(tmp_path):
    spec = load(written(tmp_path, GOOD.replace("Acme <news@acme.example>", "{{ shop }} <{{ mail }}>")))

    assert spec.sender == "{{ shop }} <{{ mail }}>"


def test_every_key_is_an_option_and_documented():
    documented = DOCS.read_text(encoding="utf-8")
    fields = [info.alias or name for name, info in CampaignSpec.model_fields.items() if not info.exclude]

    assert fields == list(KEYS)
    assert [option.key for option in OPTIONS if not option.help] == []
    assert [key for key in KEYS if f"| `{key}` |" not in documented] == []
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(flags) == len(set(flags))


def test_the_documentation_says_what_the_code_says():
    documented = DOCS.read_text(encoding="utf-8")
    descriptions = [info.description for info in CampaignSpec.model_fields.values() if not info.exclude]

    assert [text for text in descriptions if text not in documented] == []


def test_lines_are_found_despite_long_texts_and_quotes():
    text = 'a = """\nrate = 1\n"""\n"b c" = 2\n[ t . "u" ]\nd.e = 3\nf = { g = 1 }\n'

    assert line_of(text, ["rate"]) is None
    assert line_of(text, ["b c"]) == 4
    assert line_of(text, ["t", "u"]) == 5
    assert line_of(text, ["t", "u", "d", "e"]) == 6
    assert line_of(text, ["t", "u", "f", "g"]) == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("15m", 900), ("1.5h", 5400), ("2d", 172_800), ("1w", 604_800), (30, 30), (" 5 min ", 300)],
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "m", "-1h", "1y", "0s", 0, -3, True, float("inf"), float("nan")])
def test_not_durations(text):
    with pytest.raises(ValueError, match="length of time"):
        seconds(text)
