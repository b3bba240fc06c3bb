"""A header becomes a name that Jinja reads, and becomes it only once."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment

from mailer.content.columns import RESERVED, identifier


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("First Name", "first_name"),
        ("E-mail", "e_mail"),
        ("Straße", "strasse"),
        ("Größe (cm)", "grosse_cm"),
        ("2nd Line", "_2nd_line"),
        ("class", "class_"),
        ("Row", "row_"),
        ("Имя", "имя"),
        ("край", "край"),
        ("名前", "名前"),
        ("हिन्दी नाम", "हिन्दी_नाम"),
        ("İstanbul", "istanbul"),
        ("  spaces  ", "spaces"),
        ("!?", "column"),
        ("Ｆｕｌｌ", "full"),
    ],
)
def test_examples(header, name):
    assert identifier(header) == name


@given(st.text(max_size=30))
@example("\U000119d1")  # a sign that came to Unicode after Jinja's list was made
def test_any_header_becomes_a_variable_that_jinja_reads(header):
    name = identifier(header)

    assert identifier(name) == name
    assert name not in RESERVED
    assert Environment().from_string("{{ " + name + " }}").render({name: "value"}) == "value"
