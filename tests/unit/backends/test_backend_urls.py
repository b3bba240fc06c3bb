"""What a URL becomes, and what is said about one that cannot be read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer import wiring
from mailer.backends import BACKENDS, connect, options, urls
from mailer.backends.contract import BackendConfig
from mailer.errors import ConfigError
from mailer.settings import Settings


def test_a_url_loses_its_login_and_its_query():
    config = urls.parse("main", "smtp://me%40acme.example:p%3Ass@smtp.example.com:587?tls=none&timeout=5")

    assert config.url == "smtp://smtp.example.com:587"
    assert config.user == "me@acme.example"
    assert config.password == "p:ss"
    assert config.options == {"tls": "none", "timeout": "5"}


def test_what_is_given_apart_wins():
    config = urls.parse(
        "main", "smtp://a:b@h?tls=none", user="c", password="d", options={"tls": "starttls"}, rates=["1/s"]
    )
    assert (config.user, config.password, config.rates) == ("c", "d", ("1/s",))
    assert config.options == {"tls": "starttls"}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("file:///var/outbox?format=eml", "file:///var/outbox"),
        ("file:outbox", "file:outbox"),
        ("memory:", "memory:"),
        ("memory://test", "memory://test"),
        ("sendmail:///usr/sbin/sendmail", "sendmail:///usr/sbin/sendmail"),
        ("smtp://[::1]:25", "smtp://[::1]:25"),
    ],
)
def test_a_url_without_a_login_stays(url, kept):
    assert urls.parse("x", url).url == kept


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("smtp://u:SECRET/x@host:587", "%2F"),
        ("smtp://u:SECRET#x@host:587", "%23"),
        ("smtp://u:SECRET@host\r\nX", "control character"),
        ("smtp://u:SECRET%ff@host", "UTF-8"),
        ("SECRET", "smtp://host:587"),
        ("smtp://u:SECRET@host?tls=a&tls=b", "'tls' is given twice"),
    ],
)
def test_a_complaint_never_shows_the_url(url, complaint):
    with pytest.raises(ConfigError) as caught:
        urls.parse("main", url)
    assert complaint in str(caught.value)
    assert "SECRET" not in str(caught.value)


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_encoded_login_comes_back(user, password):
    from urllib.parse import quote

    config = urls.parse("x", f"smtp://{quote(user, safe='')}:{quote(password, safe='')}@host:25")
    assert (config.user, config.password, config.url) == (user, password, "smtp://host:25")
    assert repr(config) == repr(urls.parse("x", "smtp://host:25"))


def test_an_unknown_backend_is_named_with_what_exists():
    with pytest.raises(ConfigError) as caught:
        connect(urls.parse("main", "smpt://host"))
    expected = ", ".join(sorted(BACKENDS))
    assert str(caught.value) == (
        f"unknown backend 'smpt', expected one of: {expected} (did you mean 'smtp'?)"
    )


@pytest.mark.parametrize(
    ("wish", "meant"),
    [("smpt://SECRET@host", "smtp"), ("sendgird://SECRET@", "sendgrid"), ("gmail://SECRET@", "smtp+gmail")],
)
def test_a_url_of_no_backend_says_which_may_be_meant_and_not_the_key(wish, meant):
    with pytest.raises(ConfigError, match=re.escape(f"did you mean {meant!r}")) as caught:
        wiring.backend_name(Settings(), wish)
    assert "SECRET" not in str(caught.value)


def test_a_library_that_is_missing_is_named(monkeypatch, tmp_path):
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, "more", "needs_more:connect")
    with pytest.raises(ConfigError, match="'main' needs 'no_such_library': pip install no_such_library"):
        connect(urls.parse("main", "more://host"))


def test_an_unknown_option_is_named_with_what_exists():
    with pytest.raises(ConfigError, match=r"unknown option 'sice', expected one of: keep, size .*'size'"):
        connect(urls.parse("main", "memory:?sice=1"))


def read(function, value, *args):
    return function(BackendConfig("main", "x:", options={"it": value}), "it", *args)


@pytest.mark.parametrize(
    ("function", "args", "good", "expected", "bad"),
    [
        (options.flag, (), "yes", True, "maybe"),
        (options.flag, (True,), "OFF", False, ""),
        (options.whole, (None,), "12", 12, "0"),
        (options.whole, (None,), "12", 12, "²"),
        (options.seconds, (1.0,), "0.5", 0.5, "nan"),
        (options.seconds, (1.0,), "0.5", 0.5, "-1"),
        (options.choice, (("a", "b"), "a"), "b", "b", "c"),
    ],
)
def test_options_are_read_or_refused(function, args, good, expected, bad):
    assert read(function, good, *args) == expected
    with pytest.raises(ConfigError, match="backend 'main': option 'it' must be"):
        read(function, bad, *args)
