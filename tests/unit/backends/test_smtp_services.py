"""Providers over SMTP by their names: host, port and login are data."""

from pathlib import Path

import pytest

from mailer.backends import connect, known, urls
from mailer.backends.services import SERVICES
from mailer.errors import ConfigError
from mailer.settings import Settings
from mailer.wiring import backend_configs, backend_name

LOGINS = [
    ("smtp+postmark://t%2Fk@", "smtp.postmarkapp.com", "t/k", "t/k"),
    ("smtp+postmark://tk@?region=broadcast", "smtp-broadcasts.postmarkapp.com", "tk", "tk"),
    ("smtp+resend://re_1@", "smtp.resend.com", "resend", "re_1"),
    ("smtp+sendgrid://SG.1@", "smtp.sendgrid.net", "apikey", "SG.1"),
    ("smtp+sendgrid://SG.1@?region=eu", "smtp.eu.sendgrid.net", "apikey", "SG.1"),
    ("smtp+netcore://me:pw@", "smtp.netcorecloud.net", "me", "pw"),
    ("smtp+mailtrap://k@?region=bulk", "bulk.smtp.mailtrap.io", "api", "k"),
    ("smtp+mailgun://me%40mg.example:pw@?region=eu", "smtp.eu.mailgun.org", "me@mg.example", "pw"),
    ("smtp+ses://AK:s%2Fk@?region=eu-west-1", "email-smtp.eu-west-1.amazonaws.com", "AK", "s/k"),
    ("SMTP+Gmail://me%40gmail.com:pw@", "smtp.gmail.com", "me@gmail.com", "pw"),
]


@pytest.mark.parametrize(("url", "host", "user", "password"), LOGINS)
def test_a_name_stands_for_host_port_and_login(url, host, user, password):
    config = urls.parse("main", url)
    assert (config.url, config.user, config.password) == (f"smtp://{host}:587", user, password)
    assert "region" not in config.options
    connect(config)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_known_and_documented(name):
    page = Path(__file__).parents[3] / "docs" / "how-to" / "relay.md"
    text = page.read_text(encoding="utf-8")
    assert known(f"smtp+{name}")
    assert f"| `smtp+{name}` |" in text
    assert all(host.replace("{region}", "REGION") in text for host in SERVICES[name].hosts.values())


WRONG = [
    ("smtp+postmrk://k@", "is not one of: smtp\\+postmark"),
    ("smtp+ses://k:s@", "option 'region' is needed"),
    ("smtp+ses://k:s@?region=a/b", "option 'region' is needed"),
    ("smtp+mailgun://k:s@?region=mars", "must be one of: us, eu"),
    ("smtp+nylas://k@g-1", "Nylas has no SMTP relay: use its API, nylas://KEY@GRANT, or"),
    ("smtp+postal://k@", "your own host stands behind the @-sign: smtp\\+postal://KEY@YOUR.HOST"),
    ("smtp+postal://k@postal.acme.example?region=eu", "your own host stands behind the @-sign"),
    ("smtp+postmark://k@example.com", "nothing stands behind the @-sign"),
]


@pytest.mark.parametrize(("url", "words"), WRONG)
def test_what_is_wrong_is_said(url, words):
    with pytest.raises(ConfigError, match=words):
        urls.parse("main", url)


@pytest.mark.parametrize(("place", "expected"), [("", ":25"), (":2525", ":2525")])
def test_postal_is_where_you_have_it(place, expected):
    config = urls.parse("main", f"smtp+postal://k1@postal.acme.example{place}")
    assert (config.url, config.user) == (f"smtp://postal.acme.example{expected}", "k1")
    assert (config.password, config.options["marks"]) == ("k1", "postal")
    connect(config)


def test_who_has_no_relay_is_told_so_by_every_command():
    assert known("smtp+nylas")


def test_its_limits_and_key_file_are_found_by_name(tmp_path):
    (tmp_path / "key").write_text("secret-key\n")
    (tmp_path / "mailer.toml").write_text(
        '[backends.office]\nurl = "smtp+microsoft365:"\nuser = "me@acme.example"\nkey_file = "key"\n'
    )
    settings = Settings.load(tmp_path)
    config = backend_configs(settings)["office"]
    assert (config.connections, config.rates[0]) == (3, "30/min")
    assert (config.user, config.password) == ("me@acme.example", "secret-key")
    assert (
        backend_name(settings, "smtp+postmark://secret@") == "smtp://smtp.postmarkapp.com:587?marks=postmark"
    )
