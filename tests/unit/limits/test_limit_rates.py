import pytest

from mailer.delivery.limits.rates import Rate, parse, parse_all
from mailer.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20/s", Rate(20, 1)),
        ("500/min", Rate(500, 60)),
        ("10000/h", Rate(10_000, 3600)),
        ("50000/d", Rate(50_000, 86_400)),
        (" 5 / Sec ", Rate(5, 1)),
        ("5 per second", Rate(5, 1)),
        ("1/minute", Rate(1, 60)),
        ("3/hour", Rate(3, 3600)),
        ("9/day", Rate(9, 86_400)),
    ],
)
def test_a_rate_is_read_as_people_write_it(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "20", "20/", "/s", "20/fortnight", "-1/s", "1.5/s", "20 s", "20/s/s"])
def test_what_is_no_rate_shows_what_is(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert repr(text) in str(caught.value)
    assert '"20/s", "500/min", "10000/h" or "50000/d"' in str(caught.value)


def test_zero_is_not_a_way_to_pause():
    with pytest.raises(ConfigError, match="pause the campaign"):
        parse("0/h")


def test_of_several_rates_over_the_same_time_the_lowest_holds():
    assert parse_all(["50000/d", "20/s", "10/s"]) == (Rate(10, 1), Rate(50_000, 86_400))


def test_one_rate_or_none_will_do():
    assert parse_all("20/s") == (Rate(20, 1),)
    assert parse_all(()) == ()


@pytest.mark.parametrize("text", ["20/s", "500/min", "10000/h", "50000/d"])
def test_a_rate_is_written_as_it_is_read(text):
    assert str(parse(text)) == text
