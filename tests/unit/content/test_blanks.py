"""Text with names in it is filled in without Jinja, and comes to the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content.bodies import Bodies
from mailer.content.contract import Package
from mailer.content.sandbox import GLOBALS, OUTPUT_LIMIT, rendered
from mailer.errors import ContentError

WORDS = st.lists(
    st.sampled_from(["Dear ", "{{ a }}", "{{b}}", "\n", "{# no #}", "{{ '{{' }}", "100 % ", "é"])
)


def pieces(source):
    """The same source as HTML and as text."""
    bodies = Bodies(Package("m", {"m/body.html": source.encode(), "m/body.txt": source.encode()}), {})
    body = bodies.body("")
    return body.html, body.text


@given(words=WORDS, a=st.text(), b=st.text())
def test_it_comes_to_what_jinja_makes_of_it(words, a, b):
    context = GLOBALS | {"a": a, "b": b}
    for piece in pieces("".join(words)):
        assert piece.render(context) == rendered(piece.template, context)


def test_what_is_escaped_in_html_stays_in_text():
    html, text = pieces("Dear {{ a }}")
    assert html.blanks
    assert text.blanks
    assert html.render(GLOBALS | {"a": "<b>"}).endswith("Dear &lt;b&gt;")
    assert text.render(GLOBALS | {"a": "<b>"}) == "Dear <b>"


@pytest.mark.parametrize("source", ["{{ a|upper }}", "{% if a %}x{% endif %}", "{{ self }}", "{{ a.b }}"])
def test_anything_more_is_left_to_jinja(source):
    assert [piece.blanks for piece in pieces(source)] == [None, None]


@pytest.mark.parametrize("value", [7, None, ["x"]])
def test_what_is_no_text_is_written_as_jinja_writes_it(value):
    context = GLOBALS | {"a": value}
    for piece in pieces("Dear {{ a }}"):
        assert piece.render(context) == rendered(piece.template, context)


@pytest.mark.parametrize("context", [{}, {"a": "x" * OUTPUT_LIMIT}, {"a": len}])
def test_what_cannot_be_rendered_is_refused_as_always(context):
    for piece in pieces("Dear {{ a }}"):
        with pytest.raises(ContentError):
            piece.render(GLOBALS | context)
