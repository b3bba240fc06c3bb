"""What a dry run lets pass can be composed; what it cannot tell is composed."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.address import Address
from mailer.content import letters
from mailer.content.contract import Identity, MailSpec, Package
from mailer.content.dryrun import LARGEST, DryRun
from mailer.errors import ContentError
from mailer.outbox.kinds import Kinds

IDENTITY = Identity("<a@acme.example>", 0.0, "a")
HTML = """
<p>{{ name }} {{ name | upper }}</p>
{% if vip %}<b>{{ vip.since }}</b>{% elif total %}{{ total | money('EUR') }}{% else %}{{ rest }}{% endif %}
{% for item in items %}<i>{{ item.title }}</i>
<i>{{ item.price | money('EUR') }}</i>{% else %}{{ none_left }}{% endfor %}
"""
TEXT = "{{ name }}{% for item in items %}{{ item.price | money('EUR') }}{% endfor %}{{ total | number }}"

SCALARS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["9.50", "-3", "1e99", " 7 ", "٣", "=?"]),
    st.integers(),
    st.floats(-9, 9),
    st.booleans(),
    st.none(),
)
ITEMS = st.fixed_dictionaries({}, optional={"title": SCALARS, "price": SCALARS})
DATA = st.fixed_dictionaries(
    {},
    optional={
        "name": SCALARS,
        "vip": st.one_of(SCALARS, st.fixed_dictionaries({}, optional={"since": SCALARS})),
        "total": SCALARS,
        "rest": SCALARS,
        "none_left": SCALARS,
        "items": st.one_of(SCALARS, st.lists(st.one_of(ITEMS, SCALARS), max_size=4)),
    },
)


def composer(html: str, text: str = TEXT):
    package = Package("mail", {"mail/body.html": html.encode(), "mail/body.txt": text.encode()})
    return letters.composer(package, MailSpec(sender="news@acme.example", subject="Hello {{ name }}"))


def dry_run(made):
    return made._template.variants[""].dry


MADE = composer(HTML)


def outcome(call, *args) -> str:
    try:
        made = call({"data": args[0], "to": ["ann@example.org"]}, *args[1:])
    except ContentError as error:
        return f"{error.column}: {error}"
    return made if isinstance(made, str) else made.author


@settings(max_examples=300, deadline=None)
@given(DATA)
def test_it_answers_as_composing_does(data):
    assert dry_run(MADE) is not None

    examined = outcome(MADE.examined, data, Address("ann", "example.org"), IDENTITY, 500)

    assert examined == outcome(MADE.compose, data, "ann@example.org", IDENTITY)


def test_it_is_what_examines_a_row_that_is_right():
    items = [{"title": "Pen", "price": "3.50"}, {"title": "Ink", "price": 4}]
    context = {"name": "Ann", "vip": "", "total": "7.50", "items": items}

    assert dry_run(MADE).passes(context, 200)
    assert not dry_run(MADE).passes(context | {"total": "much"}, 200)
    assert not dry_run(MADE).passes(context | {"items": [{"title": "Pen"}]}, 200)


def test_what_may_become_too_long_is_composed():
    context = {"name": "Ann", "vip": "", "total": "1", "items": [{"title": "a", "price": 1}] * 1000}

    assert not dry_run(MADE).passes(context, LARGEST // 1000)


def test_a_large_attachment_is_composed_also_where_the_template_reads_nothing():
    made = composer("<p>Hello</p>", "Hello")

    assert dry_run(made).passes({}, 500)
    assert not dry_run(made).passes({}, LARGEST)


def test_what_has_large_parts_is_composed():
    body = MADE._template.variants[""].body

    assert DryRun.of(body, [b"x" * 20_000_000]) is None


@pytest.mark.parametrize(
    "html",
    [
        "{% set x = name * 9 %}{{ x }}",
        "{{ name ~ name }}",
        "{{ name | center(9000) }}",
        "{% for a in items %}{% for b in items %}{{ b }}{% endfor %}{% endfor %}",
        "{% for n in range(9) %}{{ n }}{% endfor %}",
        "{% macro m() %}{{ name }}{% endmacro %}{{ m() }}",
        "{{ name.upper() }}",
        "{{ name | date(name) }}",
        "{% for a in items recursive %}{{ a }}{% endfor %}",
    ],
)
def test_what_it_does_not_know_is_composed(html):
    assert dry_run(composer(html)) is None


@pytest.mark.parametrize("name", ["receipt", "invoice", "password-reset", "confirm-email", "security-alert"])
def test_the_templates_that_come_along_are_examined_by_it(name):
    kind = Kinds(Path(__file__).parents[3] / "templates", Path()).get(name)

    assert dry_run(kind.composer).passes({"email": "ann@example.org"} | dict(kind.about.sample), 2000)
