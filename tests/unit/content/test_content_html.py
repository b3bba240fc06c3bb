"""CSS, layouts, MJML and the text part are worked out once, and rows still say what was meant."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.content import flatten, plaintext, styles
from mailer.content.bodies import Bodies
from mailer.content.contract import Package
from mailer.content.sandbox import GLOBALS, Sandbox
from mailer.errors import ContentError, TemplateError


class Outline(HTMLParser):
    """Tags, attributes and text, without styles and blanks."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self._in_style = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._in_style = tag == "style"
        self.found.append((tag, sorted((name, value) for name, value in attrs if name != "style")))

    def handle_endtag(self, tag):
        self._in_style = False
        self.found.append(("/", tag))

    def handle_data(self, data):
        if not self._in_style and data.strip():
            self.found.append(("text", " ".join(data.split())))

    def handle_comment(self, data):
        self.found.append(("comment", data))


def bodies(files):
    return Bodies(Package("mail", {name: text.encode() for name, text in files.items()}), {})


def both(files, context):
    """(rendered as compiled for speed, rendered as written)"""
    body = bodies(files).body("")
    assert not body.warnings
    written = Sandbox(files, True, "mail")
    return body.html.render(GLOBALS | context), written.get_template("mail/body.html").render(context)


CSS = "<style>p, td, .a { color: red } .b > i { margin: 0 } #c { top: 1px } a:hover { color: blue }</style>"

LEAVES = st.sampled_from(
    [
        "text ",
        "{{ x }}",
        "<i>{{ y }}</i>",
        "&amp; &nbsp;",
        "{# note #}",
        '<p class="a {{ x }}">{{ y }}</p>',
        "<br>",
        '<a href="?a={{ x }}&amp;b" style="top: {{ x }}">l</a>',
        "<!-- {{ x }} -->",
        "{{ '}}' }}",
        "{%- set z = x -%} {{ z }}",
        "<b {% if x %}class=a{% endif %}>b</b>",
        "<td>cell",
        "<!--[if mso]><td>{{ y }}<![endif]-->",
        "{% raw %}{{ x }}{% endraw %}",
    ]
)
SHAPES = st.sampled_from(
    [
        "{% if x %}HERE{% endif %}",
        "{% for i in range(2) %}HERE{{ i }}{% endfor %}",
        "<table>HERE</table>",
        '<div class="b" id="c">HERE</div>',
        "<tr>HERE</tr>",
        "{% if y %}<p>HERE{% else %}<div>{% endif %}",
        "{% block NAME %}HERE{% endblock %}",
        "{% with %}HERE{% endwith %}",
    ]
)


def nested(inner):
    parts = st.lists(inner, max_size=3).map("".join)
    return st.builds(lambda shape, inside: shape.replace("HERE", inside), SHAPES, parts)


def numbered(source):
    count = iter(range(10_000))
    return re.sub("NAME", lambda _: f"b{next(count)}", source)


@given(
    st.lists(st.recursive(LEAVES, nested, max_leaves=12), max_size=4).map("".join).map(numbered),
    st.booleans(),
)
@example("{% block b0 %}text {% endblock %}{%- set z = x -%} {{ z }}", True)
def test_inlining_changes_nothing_but_style(source, truth):
    context = {"x": "X<" if truth else "", "y": "" if truth else "Y"}

    fast, written = both({"mail/body.html": CSS + source}, context)

    assert Outline(fast).found == Outline(written).found


LAYOUT = (
    "<html><head><title>{% block title %}News{% endblock %}</title>" + CSS + "</head><body>"
    "<table>{% block rows %}<tr><td>none</td></tr>{% endblock %}</table>"
    "{% block main %}<p>main {{ x }}{% block deep %}<i>deep</i>{% endblock %}</p>{% endblock %}</body></html>"
)
EXTENDS = '{% extends "_layouts/base.html" %}'


@pytest.mark.parametrize(
    "child",
    [
        EXTENDS,
        EXTENDS + '{% block main %}<p class="a">{{ super() }} more</p>{% endblock %}',
        EXTENDS + "{% block deep %}<b>{{ x }}</b>{% endblock %}",
        '{% extends "_layouts/mid.html" %}{% block main %}1{{ super() }}{% endblock %}',
        EXTENDS + '{% set t = x ~ "!" %}{% block title %}{{ t }}{% endblock %}',
        EXTENDS
        + "{% block rows %}{% for i in range(3) %}<tr><td>{{ i }}</td></tr>{% endfor %}{% endblock %}",
        EXTENDS + '{% block main %}{% include "part.html" %}{% endblock %}',
        EXTENDS
        + "{% macro m(v) %}<p>{{ v }}</p>{% endmacro %}{% block main %}{{ m(x) }}{{ m(2) }}{% endblock %}",
        EXTENDS + '{% from "_layouts/m.html" import big %}{% block main %}{{ big(x) }}{% endblock %}',
        EXTENDS
        + '{% block main %}{% set x = "in" %}{{ x }}{% endblock %}{% block title %}{{ x }}{% endblock %}',
    ],
)
def test_a_layout_is_resolved_as_jinja_would(child):
    files = {
        "mail/body.html": child,
        "mail/part.html": "<p>part {{ x }}{% set x = 1 %}{{ x }}</p>",
        "_layouts/base.html": LAYOUT,
        "_layouts/mid.html": '{% extends "_layouts/base.html" %}{% block main %}2{{ super() }}{% endblock %}',
        "_layouts/m.html": "{% macro big(v) %}<p><b>{{ v }}</b></p>{% endmacro %}",
    }

    fast, written = both(files, {"x": "<X>"})

    assert Outline(fast).found == Outline(written).found


def test_a_layout_that_a_row_decides_is_left_alone_and_said_so():
    files = {"mail/body.html": "{% extends layout %}", "_layouts/base.html": LAYOUT}

    body = bodies(files).body("")

    assert body.warnings == ("mail/body.html: its inheritance is decided per row, so CSS stays in <style>",)
    assert "<style>" in body.html.render(GLOBALS | {"layout": "_layouts/base.html", "x": "1"})


def test_what_cannot_be_inlined_stays_in_style():
    page = CSS + '<p style="top: 0">x</p><i class="{{ c }} a" style="color: {{ c }}">y</i>'

    inlined, warnings = styles.inlined("mail", flatten.Flat(page))

    assert warnings == []
    assert "a:hover { color: blue; }" in inlined
    assert "p {" not in inlined
    assert '<p style="color: red;top: 0">x</p>' in inlined
    assert '<i class="{{ c }} a" style="color: red; color: {{ c }}">y</i>' in inlined


def test_css_with_jinja_in_it_is_left_to_the_mail_client():
    page = "<style>p { color: {{ c }} }</style><style>b { top: 0 }</style><p>x</p><b>y</b>"

    inlined, _ = styles.inlined("mail", flatten.Flat(page))

    assert inlined == '<style>p { color: {{ c }} }</style><style></style><p>x</p><b style="top: 0;">y</b>'


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h1>Hello</h1><p>One\n two.</p><p>Three</p>", "Hello\n\nOne two.\n\nThree"),
        ('<p><a href="https://a.example/?x=1&amp;y=2">Read</a></p>', "Read (https://a.example/?x=1&y=2)"),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example"),
        ('<a href="mailto:a@b.example">write</a>', "write (a@b.example)"),
        ('<a href="{{ url }}">{{ name }}</a>', "{{ name }} ({{ url }})"),
        ("<ul>{% for i in l %}<li>{{ i }}</li>{% endfor %}</ul>", "{% for i in l %}\n- {{ i }}{% endfor %}"),
        ("<head><style>p{}</style>{% set a = 1 %}</head>{{ a }}", "{% set a = 1 %}{{ a }}"),
        ('<img src="x.png" alt="Logo {{ n }}">', "Logo {{ n }}"),
        ('<div style="display: none">preheader</div>body', "body"),
        ("&lt;&amp;&#123;{ 7 }}", "<&{{ '{{' }} 7 }}"),
        ("<!-- {% if a %} -->x<!-- {% endif %} -->", "{% if a %}x{% endif %}"),
        ("a<br>b<hr>c", "a\nb\n\n-----\n\nc"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
    ],
)
def test_text_from_html(page, text):
    assert plaintext.from_html(page) == text


def test_text_of_tags_that_depend_on_the_row_is_made_per_message():
    page = '<p><a {% if v %}href="https://v.example"{% else %}href="https://o.example"{% endif %}>go</a></p>'

    assert plaintext.from_html(page) is None
    body = bodies({"mail/body.html": page}).body("")
    assert body.text_from_html
    assert plaintext.of(body.html.render(GLOBALS | {"v": ""})) == "go (https://o.example)"


MJML = """<mjml><mj-head><mj-title>Hi {{ x }}</mj-title></mj-head><mj-body>
{% for i in range(2) %}<mj-section><mj-column>
<mj-text>Row {{ i }} {% if x %}<b>{{ x }}</b>{% endif %}</mj-text>
<mj-button href="https://a.example/{{ x }}">go</mj-button></mj-column></mj-section>{% endfor %}
</mj-body></mjml>"""


def test_mjml_keeps_its_statements():
    body = bodies({"mail/body.mjml": MJML}).body("")

    page = body.html.render(GLOBALS | {"x": "<X>"})

    assert re.findall(r"Row (\d)", page) == ["0", "1"]
    assert page.count("<b>&lt;X&gt;</b>") == 2
    assert 'href="https://a.example/&lt;X&gt;"' in page
    assert "mj-" not in re.sub(r"mj-(?:column|outlook)[a-z0-9-]*", "", page)
    assert "go (https://a.example/<X>)" in body.text.render(GLOBALS | {"x": "<X>"})
    with pytest.raises(ContentError, match=r"mail/body\.mjml, line 1: there is no 'x'"):
        body.html.render(dict(GLOBALS))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("<mjml><mj-body><mj-section></mj-body></mjml>", "MJML cannot be read"),
        ("<mjml><mj-body><mj-foo>x</mj-foo></mj-body></mjml>", "no element <mj-foo>"),
        ("<mjml><mj-body><mj-text {% if x %}a{% endif %}>x</mj-text></mj-body></mjml>", "quoted attribute"),
    ],
)
def test_wrong_mjml_is_refused(source, words):
    with pytest.raises(TemplateError, match=words):
        bodies({"mail/body.mjml": source}).body("")


def test_text_templates_do_not_escape_and_html_includes_do():
    files = {
        "mail/body.html": '{% include "mail/part.txt" %}',
        "mail/part.txt": "{{ x }}",
        "mail/body.txt": "{{ x|e }}",
    }
    body = bodies(files).body("")

    assert body.html.render(GLOBALS | {"x": "<"}) == "&lt;"
    assert body.text.render(GLOBALS | {"x": "<"}) == "<"
