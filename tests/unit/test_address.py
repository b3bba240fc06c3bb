"""An Address is valid by construction, and the fast way never accepts what the strict way refuses."""

import pickle
import unicodedata

import pytest
from email_validator import validate_email
from hypothesis import given
from hypothesis import strategies as st

from mailer.address import MAX_TEXT, UNSAFE, Address, AddressError


@pytest.mark.parametrize(
    ("text", "local", "domain", "name"),
    [
        ("ann@acme.example", "ann", "acme.example", ""),
        ("  ann@acme.example\xa0", "ann", "acme.example", ""),
        ("Ann.Lee+x@ACME.Example", "Ann.Lee+x", "acme.example", ""),
        ("Ann Lee <ann@acme.example>", "ann", "acme.example", "Ann Lee"),
        ("<ann@acme.example>", "ann", "acme.example", ""),
        ('"Lee, Ann" <ann@acme.example>', "ann", "acme.example", "Lee, Ann"),
        (r'"Ann \"A\" \\ Lee" <ann@acme.example>', "ann", "acme.example", 'Ann "A" \\ Lee'),
        ("Lee, Ann <ann@acme.example>", "ann", "acme.example", "Lee, Ann"),
        ("ann@acme.example <ann@acme.example>", "ann", "acme.example", "ann@acme.example"),
        ("Zoë Ångström <zoe@acme.example>", "zoe", "acme.example", "Zoë Ångström"),
        ("jörg@bücher.example", "jörg", "xn--bcher-kva.example", ""),
        ("ann@BÜCHER.example", "ann", "xn--bcher-kva.example", ""),
        ("ann@日本。example", "ann", "xn--wgv71a.example", ""),
        ("INFO@acme.example", "INFO", "acme.example", ""),
        ("o'neil@acme.example", "o'neil", "acme.example", ""),
        ("a=b/c{d}@acme.example", "a=b/c{d}", "acme.example", ""),
        ("ann@mail.test", "ann", "mail.test", ""),
    ],
)
def test_reads(text, local, domain, name):
    assert Address.parse(text) == Address(local, domain, name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ann", "@-sign"),
        ("ann@", "after the @-sign"),
        ("@acme.example", "before the @-sign"),
        ("ann@acme", "period"),
        ("ann@localhost", "period"),
        ("ann@intern.local", "special-use"),
        ("ann@[127.0.0.1]", "bracketed"),
        ('"a b"@acme.example', "Quoting"),
        ("a@b.example, c@d.example", "more than one"),
        ("a@b.example;c@d.example", "more than one"),
        ("a@b.example c@d.example", "more than one"),
        ("A <a@b.example>, C <c@d.example>", "more than one"),
        ('"A" <a@b.example>, "C" <c@d.example>', "more than one"),
        ("a@b.example, C <c@d.example>", "more than one"),
        ("ann@acme.example>", "without"),
        ("ann@acme.example\nBcc: x@y.example", "control"),
        ("ann@acme.example\r\n", "control"),
        ("ann\x00@acme.example", "control"),
        ("Ann\x85 <ann@acme.example>", "control"),
        ("Ann\u202egro <ann@acme.example>", "control"),
        ("a\u2066nn@acme.example", "control"),
        ("a\u200bnn@acme.example", "unsafe"),
        ("ann%other.example@acme.example", "Routing"),
        ("host!ann@acme.example", "Routing"),
        ("=?utf-8?q?ann?=@acme.example", "encoded word"),
        ("a" * 65 + "@acme.example", "too long"),
        ("a@" + "b" * 64 + ".example", "so many"),
        ("a@" + "b." * 130 + "example", "too long"),
        ("é" * 64 + "@" + ("b" * 60 + ".") * 3 + "example", "too long"),
        ("a..b@acme.example", "two periods"),
        ("ann@-acme.example", "hyphen"),
        ("ann@ab--c.example", "dashes"),
        ("ann@acme.example> AUTH=<x@y.example", "more than one"),
        ("<ann@acme.example> AUTH=<x>", "more than one"),
        ("x" * (MAX_TEXT + 1), "320"),
    ],
)
def test_refuses_with_a_plain_reason(text, reason):
    with pytest.raises(AddressError, match=reason):
        Address.parse(text)


def test_smtputf8_only_for_a_local_part_beyond_ascii():
    assert Address.parse("jörg@acme.example").smtputf8
    assert not Address.parse("jorg@bücher.example").smtputf8
    assert Address.parse("jo\u0308rg@acme.example").local == "jörg"


def test_the_key_ignores_case_and_the_envelope_keeps_it():
    mixed = Address.parse("Ann.Lee@Acme.Example")

    assert mixed.addr == "Ann.Lee@acme.example"
    assert mixed.key == Address.parse("ann.lee@acme.example").key


@pytest.mark.parametrize(
    ("domain", "lane"),
    [
        ("gmail.com", "gmail"),
        ("GoogleMail.com", "gmail"),
        ("me.com", "apple"),
        ("acme.example", "acme.example"),
    ],
)
def test_lanes(domain, lane):
    assert Address.parse(f"a@{domain}").lane == lane


def test_an_address_error_survives_pickling():
    copy = pickle.loads(pickle.dumps(AddressError("why")))

    assert (copy.reason, str(copy)) == ("why", "why")


LABELS = st.from_regex(r"[A-Za-z0-9-]{0,34}", fullmatch=True)
LOCALS = st.text("abzAZ09._+-'=%! \"\\(,é", max_size=70)
DOMAINS = st.lists(LABELS | st.sampled_from(["local", "test", "arpa", "xn--a", "com"]), max_size=9).map(
    ".".join
)


#: Most of these take the fast way.
PLAIN = st.builds(
    "{}@{}.{}".format,
    st.text("abzAZ09._+-", min_size=1, max_size=66),
    DOMAINS,
    st.sampled_from(["com", "org"]),
)


@given(st.builds("{}@{}".format, LOCALS, DOMAINS) | PLAIN)
def test_the_fast_way_accepts_only_what_email_validator_accepts(text):
    text = text.strip(" ")  # parse does
    try:
        fast = Address.parse(text)
    except AddressError:
        return

    strict = validate_email(text, strict=True, check_deliverability=False, test_environment=True)
    assert fast.domain == strict.ascii_domain
    assert fast.local == unicodedata.normalize("NFC", text.rpartition("@")[0])


@given(st.text(max_size=400) | st.text('<>"@,; a.b\\', max_size=60))
def test_any_text_becomes_one_safe_address_or_an_address_error(text):
    try:
        address = Address.parse(text)
    except AddressError:
        return

    assert address.addr.count("@") == 1
    assert not UNSAFE.search(address.addr + address.name)
    assert not set(address.addr) & set(' <>,;"%!')
    assert Address.parse(address.addr).addr == address.addr


@pytest.mark.parametrize("shape", ["(", "<", '"', "\\", '"\\', "a@", "a.", "-a", "é", "a-"])
def test_long_nonsense_is_refused_without_reading_it(shape):
    with pytest.raises(AddressError):
        Address.parse((shape * MAX_TEXT)[:MAX_TEXT])
    with pytest.raises(AddressError, match="longer than 320"):
        Address.parse(shape * 10_000_000)
