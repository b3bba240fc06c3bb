"""From mailer.toml to limits: where they are shared, sender domains, warm-up, known relays."""

import re
import textwrap
from pathlib import Path

import pytest

from mailer import wiring
from mailer.backends.presets import PRESETS, find
from mailer.delivery.limits.plan import BackendRates, Limits, WarmupPlan
from mailer.delivery.limits.rates import Rate, parse_all
from mailer.errors import ConfigError
from mailer.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "limits.md"


def settings(folder, text):
    (folder / "mailer.toml").write_text(text)
    return Settings.load(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ('broker = "redis://h:6379/0"', "redis://h:6379/0"),
        ('broker = "amqp://h//"', None),
        ('broker = "redis://h:6379/0"\nlimits = "ledger"', None),
        ('broker = "amqp://h//"\nlimits = "redis://h:6379/1"', "redis://h:6379/1"),
    ],
)
def test_limits_are_where_the_broker_is_unless_told_otherwise(tmp_path, text, expected):
    assert wiring.limits_url(settings(tmp_path, text)) == expected


def test_limits_anywhere_else_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='write "redis://HOST:6379/0", or "ledger"'):
        wiring.limits_url(settings(tmp_path, 'limits = "memcached://h"'))


def test_senders_and_warmup_reach_the_limits(tmp_path):
    text = """
        [backends.main]
        url = "smtp://localhost"
        [backends.main.warmup]
        schedule = [50, 100]
        lanes = { Gmail = [20] }
        [senders."Acme.example"]
        rate = ["5/s", "1000/d"]
    """
    loaded = settings(tmp_path, text)
    limits = Limits(wiring.backend_rates(loaded), wiring.sender_rates(loaded))

    keys = limits.keys_for("main", "gmail", domain="gmail.com", sender="acme.example")
    assert keys == ("backend:main", "lane:main:gmail", "sender:acme.example")
    assert [limits.terms(key).warmup for key in keys] == [(50, 100), (20,), ()]


SHARED = """
    [backends.main]
    url = "smtp://localhost"
    rate = ["100/min", "1000/d"]
    [senders."acme.example"]
    rate = "50/h"
"""


BROKER = 'broker = "redis://localhost"\n'


@pytest.mark.parametrize(
    ("more", "wish", "serving", "for_bulk", "of_the_sender"),
    [
        ("", "", False, 1000, 50),  # one who only runs `mailer send`
        ("", "", True, 900, 45),  # applications hand messages to this process
        (BROKER, "", False, 900, 45),
        (BROKER, "0%", False, 1000, 45),
        ("", "25%", False, 750, 50),
    ],
)
def test_a_part_of_the_day_is_left_to_transactional_mail(
    tmp_path, more, wish, serving, for_bulk, of_the_sender
):
    reserve = f'transactional_rate_reserve = "{wish}"\n' if wish else ""
    loaded = settings(tmp_path, more + textwrap.dedent(SHARED).replace("rate = [", f"{reserve}rate = ["))
    limits = Limits(
        wiring.backend_rates(loaded, serving=serving), wiring.sender_rates(loaded, serving=serving)
    )

    assert limits.terms("backend:main").for_bulk.rates == (Rate(100, 60), Rate(for_bulk, 86_400))
    assert limits.terms("sender:acme.example").for_bulk.rates == (Rate(of_the_sender, 3600),)


def test_the_last_message_of_a_small_window_is_not_reserved():
    limits = Limits({"main": BackendRates(("1/h", "9/d"), reserve=1.0)})

    assert limits.terms("backend:main").for_bulk.rates == (Rate(1, 3600), Rate(1, 86_400))


def test_a_warmup_day_without_mail_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"warmup\.schedule\.1: Input should be greater than 0"):
        settings(tmp_path, '[backends.main]\nurl = "smtp://h"\nwarmup = { schedule = [50, 0] }')


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("smtp://smtp.gmail.com:587", "gmail"),
        ("smtp://smtp.office365.com:587", "microsoft365"),
        ("smtp://email-smtp.eu-west-1.amazonaws.com:587", "amazon-ses"),
        ("smtps://live.smtp.mailtrap.io", "mailtrap"),
    ],
)
def test_a_known_relay_is_recognised_by_its_host(tmp_path, url, name):
    loaded = settings(tmp_path, f'[backends.main]\nurl = "{url}"')

    assert wiring.backend_rates(loaded) == {"main": BackendRates(PRESETS[name].rates, warmup=WarmupPlan())}
    assert wiring.backend_configs(loaded)["main"].connections == PRESETS[name].connections


def test_what_is_given_wins_over_what_is_known(tmp_path):
    text = '[backends.main]\nurl = "smtp://smtp.office365.com"\nrate = []\nconnections = 7'
    config = wiring.backend_configs(settings(tmp_path, text))["main"]

    assert (config.rates, config.connections) == ((), 7)


def test_a_preset_may_be_named_or_refused():
    assert find("google-workspace", "relay.internal").rates == ("2000/d",)
    assert find("none", "smtp.gmail.com").rates == ()
    with pytest.raises(ConfigError, match="no preset 'gmial'; did you mean 'gmail'"):
        find("gmial", "")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_read_says_where_it_is_from_and_is_documented(name):
    preset = PRESETS[name]

    assert parse_all(preset.rates) or not preset.rates
    assert re.search(r"\(20\d\d(-\d\d)?\)", preset.source)
    assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")
