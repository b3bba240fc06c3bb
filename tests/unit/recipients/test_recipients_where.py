from __future__ import annotations

import pickle
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.campaigns.recipients.conditions import FUNCTIONS
from mailer.campaigns.recipients.header import Columns
from mailer.campaigns.recipients.where import Where
from mailer.errors import RecipientsError

COLUMNS = Columns(
    ("E-mail", "plan", "age", "since", "vip", "First Name"),
    ("e_mail", "plan", "age", "since", "vip", "first_name"),
    0,
)
TYPES = {2: "integer", 3: "date", 4: "boolean"}


def matches(source, **cells):
    row = {
        "email": "ann@example.com",
        "plan": "pro",
        "age": "41",
        "since": "2024-05-01",
        "vip": "yes",
        "name": "Ann",
    }
    return Where(source, COLUMNS, TYPES)(list((row | cells).values()))


@pytest.mark.parametrize(
    "source",
    [
        "plan == 'pro'",
        'plan != "free" and age > 40',
        "not (plan == 'free' or age < 18)",
        "plan in ['pro', 'team']",
        "plan not in ('free', 'trial')",
        "age in [40, 41.0]",
        "'@example.com' in email",
        "'@other' not in e_mail",
        "18 <= age < 65",
        "age >= 40.5",
        "age > -1",
        "since >= '2024-01-01'",
        "'2024-12-31' > since",
        "since in ['2024-05-01']",
        "vip",
        "vip == true",
        "vip and True",
        "not false",
        "lower(plan) == 'pro'",
        "upper(strip(plan)) == 'PRO'",
        "startswith(plan, 'p') and endswith(plan, 'o')",
        "contains(first_name, 'n')",
        "length(first_name) == 3",
        "row['First Name'] == 'Ann'",
        "plan == row['plan']",
        "  plan\n  == 'pro'  ",
        "plan > 'free'",
        "first_name",
    ],
)
def test_what_holds_for_ann(source):
    assert matches(source) is True
    assert matches(f"not ({source.strip()})") is False


@pytest.mark.parametrize(
    "source", ["age > 0", "age == 0", "age < 100", "since > '1900-01-01'", "vip == false", "vip"]
)
def test_an_empty_cell_with_a_type_equals_nothing(source):
    empty = {"age": "", "since": "", "vip": ""}

    assert matches(source, **empty) is False
    assert matches("age != 5", **empty) is True
    assert matches("plan == ''", plan="") is True


@pytest.mark.parametrize(
    ("source", "position", "words"),
    [
        ("plann == 'pro'", 1, "there is no column 'plann'; there are 'e_mail', 'plan', 'age'"),
        ("plan == 'pro' and aeg > 3", 19, "there is no column 'aeg'"),
        ("plan == 'ü' and aeg > 3", 17, "there is no column 'aeg'"),
        ("\n  plan == 'x' and\n aeg > 3", 21, "there is no column 'aeg'"),
        ("plan == ", 8, "this cannot be read"),
        ("plan = 'pro'", 6, "two values are compared with =="),
        ("plan > 3", 1, "a text is never comparable with a number"),
        ("since > 'soon'", 1, "'soon': not a date like 2025-11-30"),
        ("age in 'abc'", 1, "on the right of 'in' stands a list, or a text"),
        ("plan is 'pro'", 1, "there is no 'is': == compares, and an empty cell equals ''"),
        ("matches(plan, 'x')", 1, "there is no function 'matches'; there are lower, upper"),
        ("lower(age) == 'x'", 1, "lower() takes 1 text"),
        ("startswith(plan) == 'x'", 1, "startswith() takes 2 texts"),
        ("['pro']", 1, "a list stands only on the right of 'in'"),
        ("not " * 60 + "vip", 201, "this is nested more than 50 times"),
        ("plan == 'pro' and city is defined", 19, "there is no 'is': == compares"),
        ("row[0] == 'x'", 1, "this is not part of the language of where. It knows columns and row["),
    ],
)
def test_mistakes_are_shown_with_their_position(source, position, words):
    with pytest.raises(RecipientsError) as caught:
        Where(source, COLUMNS, TYPES)

    assert caught.value.message.startswith(f"where, character {position}: ")
    assert words in caught.value.message
    assert caught.value.hint == f"where = {source!r}"


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os').system('true')",
        "plan.__class__ == 'x'",
        "plan.upper() == 'PRO'",
        "(lambda: True)()",
        "[x for x in plan]",
        "f'{plan}' == 'pro'",
        "age ** 999 > 1",
        "age + 1 == 42",
        "plan * 999999999 == ''",
        "(plan := 'x') == 'x'",
        "plan if vip else plan",
        "lower(*plan) == 'x'",
        "lower(text=plan) == 'x'",
        "b'x' == plan",
        "None == plan",
        "... == plan",
        "1j == age",
        "{'a': 1} == plan",
        "open('x')",
        "print(plan)",
        "await plan",
        "plan; vip",
        "plan == '\\d' and os",
        "",
        "-plan == 1",
        "[plan] == [plan]",
        "plan in [plan]",
        "'x' and y",
    ],
)
def test_nothing_else_is_part_of_the_language(source):
    with pytest.raises(RecipientsError):
        Where(source, COLUMNS, TYPES)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 900 + "vip" + ")" * 900,
        "not " * 450 + "vip",
        "x" * 3000,
        "-" * 1500 + "1 == age",
        "9" * 1900 + " > age",
    ],
)
def test_monsters_are_refused_or_understood(source):
    with suppress(RecipientsError):
        Where(source, COLUMNS, TYPES)


WORDS = st.sampled_from(
    [
        *FUNCTIONS,
        *COLUMNS.identifiers,
        "row",
        "email",
        "and",
        "or",
        "not",
        "in",
        "==",
        "<",
        "(",
        ")",
        "[",
        "]",
        ",",
        "'pro'",
        "'2024-01-01'",
        "41",
        "-",
        "1e999",
        "(" * 60,
        ")" * 60,
        "not " * 60,
        "0x10",
        "true",
        "None",
        "lambda",
        ":",
        ".",
        "__class__",
        "*",
        "if",
        "else",
        "'",
        "\\",
        "\0",
        "ä",
        "\n",
    ]
)


@given(st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_condition_or_a_mistake(source):
    try:
        where = Where(source, COLUMNS, TYPES)
    except RecipientsError:
        return
    cells = ["a@b.c", "pro", "41", "", "yes", "Ann"]
    assert pickle.loads(pickle.dumps(where))(cells) is where(cells)


def test_filtered_rows_are_counted_and_not_judged(opened, refused, people):
    text = (
        "email,plan,n\na@example.com,pro,1\nnobody,free,x\nb@example.com,pro,x\na@example.com,free,2\n"
        "c@example.com,pro,3\n"
    )
    reader = opened(text, where="plan == 'pro' and n < 3", types={"n": "integer"})

    assert [entry.line for entry in people(reader)] == [2]
    assert refused(reader) == [(4, "n", "not a whole number")]
    assert (reader.tally.filtered, reader.tally.rows) == (3, 5)
