import pytest

from mailer.delivery.limits.estimate import duration, span
from mailer.delivery.limits.plan import WATCHED, BackendRates, Flow, Limits, SenderRates
from mailer.delivery.limits.rates import Rate
from mailer.errors import ConfigError

MAIN = BackendRates(rates=("100/s", "50000/d"), lanes={"gmail": ("20/s",)}, domains={"Example.org": ("1/s",)})


@pytest.fixture
def limits():
    return Limits({"main": MAIN, "free": BackendRates()}, senders={"acme.example": SenderRates(("5/s",))})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"backend": "free", "lane": "gmail"}, ()),
        ({"backend": "main", "lane": "yahoo"}, ("backend:main",)),
        ({"backend": "main", "lane": "gmail", "domain": "gmail.com"}, ("backend:main", "lane:main:gmail")),
        (
            {"backend": "main", "lane": "example.org", "domain": "example.org"},
            ("backend:main", "domain:main:example.org"),
        ),
        ({"backend": "free", "lane": "gmail", "campaign_id": 7}, ("campaign:7",)),
        ({"backend": "free", "lane": "gmail", "sender": "acme.example"}, ("sender:acme.example",)),
    ],
)
def test_a_message_needs_the_keys_that_have_a_rate(limits, message, expected):
    limits.set_campaign(7, "50/s")

    assert limits.keys_for(**message) == expected


def test_without_any_rate_nobody_need_ask():
    assert Limits().keys_for("main", "gmail", domain="gmail.com", campaign_id=1, sender="a.example") == ()


def test_a_campaign_whose_rate_was_taken_away_is_free(limits):
    limits.set_campaign(7, "50/s")
    limits.set_campaign(7, ())

    assert limits.keys_for("free", "gmail", campaign_id=7) == ()


@pytest.mark.parametrize(
    ("backend", "setting"),
    [
        (BackendRates(rates=("fast",)), "backends.main.rate"),
        (BackendRates(lanes={"gmail": ("fast",)}), "backends.main.lanes.gmail"),
        (BackendRates(domains={"example.org": ("fast",)}), "backends.main.domains.example.org"),
    ],
)
def test_a_wrong_rate_is_named_by_its_setting(backend, setting):
    with pytest.raises(ConfigError, match=f"^{setting}: 'fast' is not a rate; write \"20/s\""):
        Limits({"main": backend})


def test_a_slowed_lane_is_a_key_until_it_has_recovered(limits):
    limits.mark_slowed("lane:free:gmail", slowed=True)
    assert limits.keys_for("free", "gmail") == ("lane:free:gmail",)

    limits.mark_slowed("lane:free:gmail", slowed=False)
    assert limits.keys_for("free", "gmail") == ()


def test_the_flow_of_a_lane_is_known_from_its_messages():
    now = 0.0
    limits = Limits(clock=lambda: now)
    for second in range(15):
        now = float(second)
        limits.keys_for("main", "gmail", messages=30)

    assert limits.flow("lane:main:gmail") == pytest.approx(30, rel=0.1)
    assert limits.flow("lane:main:yahoo") == 0.0


def test_a_flow_that_has_ended_is_no_flow():
    now = 0.0
    flow = Flow(lambda: now)
    flow.saw("a", 1000)
    now = 100.0

    assert flow.per_second("a") == 0.0


def test_the_flow_of_endless_lanes_takes_bounded_memory():
    flow = Flow(lambda: 1.0)
    for number in range(WATCHED + 50):
        flow.saw(str(number), 1)

    assert flow.per_second("0") == 0.0
    assert flow.per_second(str(WATCHED + 49)) == 1.0


@pytest.mark.parametrize(
    ("rate", "count", "seconds"),
    [
        (Rate(20, 1), 0, 0.0),
        (Rate(20, 1), 1, 0.0),
        (Rate(20, 1), 201, 10.0),
        (Rate(60, 60), 61, 60.0),
        (Rate(1000, 3600), 1000, 0.0),
        (Rate(1000, 3600), 1001, 3600.0),
        (Rate(1000, 3600), 2500, 7200.0),
    ],
)
def test_a_rate_says_how_long_so_many_take(rate, count, seconds):
    assert span(rate, count) == pytest.approx(seconds)


def test_the_slowest_key_decides_how_long_a_campaign_takes(limits):
    rows = {"gmail": 2001, "yahoo": 500, "example.org": 11}

    assert duration(rows, limits, backend="main") == pytest.approx(100.0)
    assert duration({**rows, "example.org": 301}, limits, backend="main") == pytest.approx(300.0)
    assert duration(rows, limits, backend="free") is None
