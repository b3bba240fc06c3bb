"""What the types of a row say of its rendering. That it agrees with composing is tested in test_dryrun."""

import pytest

from mailer.content import letters
from mailer.content.contract import MailSpec, Package
from mailer.content.typecheck import TypeCheck, simple


def checked(text: str) -> TypeCheck | None:
    package = Package("mail", {"mail/body.txt": text.encode()})
    made = letters.composer(package, MailSpec(sender="news@acme.example", subject="Hello"))
    return made._template.variants[""].dry.types


@pytest.mark.parametrize(
    ("text", "right", "perhaps_wrong"),
    [
        ("{{ name }}", {"name": "Ann"}, {}),
        ("{{ name }}", {"name": 7}, {"name": 10**5000}),
        ("{{ name | upper }}", {"name": None}, {"name": ["Ann"]}),
        ("{{ order.number }}", {"order": {"number": 7}}, {"order": {}}),
        ("{{ order.number }}", {"order": {"number": 7}}, {"order": [{"number": 7}]}),
        ("{{ total | money(currency) }}", {"total": "9.50", "currency": "EUR"}, {"total": "9.50"}),
        ("{{ total | money('EUR') }}", {"total": 9.5}, {"total": "much"}),
        ("{% for one in items %}{{ one.price | number }}{% endfor %}", {"items": []}, {"items": "none"}),
        (
            "{% for one in items %}{{ one.price | number }}{% endfor %}",
            {"items": [{"price": 1}, {"price": "2"}]},
            {"items": [{"price": 1}, {"price": "two"}]},
        ),
        ("{% if items %}{{ name }}{% endif %}", {"items": [1], "name": ""}, {"items": []}),
        ("{% if not a and b == 1 %}{{ a }}{% else %}{{ b }}{% endif %}", {"a": 1, "b": 2}, {"a": 1}),
    ],
)
def test_it_lets_pass_what_cannot_fail_and_nothing_else(text, right, perhaps_wrong):
    found = checked(text)

    assert found is not None
    assert found.passes(right)
    assert not found.passes(perhaps_wrong)


@pytest.mark.parametrize(
    "text",
    [
        "{{ order.items }}",  # a method of mappings
        "{{ order.a.b }}",
        "{% for one in items %}{{ one }}{% endfor %}",
        "{% for one in items %}{{ loop.index }}{% endfor %}",
        "{% if a > b %}{{ a }}{% endif %}",
        "{{ born | date }}",
        "{{ a | default('b') }}",
        "{{ a if b else c }}",
    ],
)
def test_it_says_nothing_of_what_it_does_not_understand(text):
    assert checked(text) is None


def test_what_writes_itself_is_not_simple():
    class Text(str):
        pass

    assert simple(["a", 1, 1.5, True, None])
    assert not simple([Text("a")])
    assert not simple([[]])
