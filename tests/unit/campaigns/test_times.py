"""Moments: with an offset, with a zone, and the hours that do not exist or come twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailer.campaigns.loading import from_options
from mailer.campaigns.times import moment
from mailer.errors import CampaignError


def utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-12-01T09:00+01:00", None, utc(2026, 12, 1, 8)),
        ("2026-12-01 09:00Z", None, utc(2026, 12, 1, 9)),
        ("2026-12-01 09:00 Europe/Berlin", None, utc(2026, 12, 1, 8)),
        ("2026-07-01 09:00 Europe/Berlin", "America/New_York", utc(2026, 7, 1, 7)),
        ("2026-07-01 09:00", "Europe/Berlin", utc(2026, 7, 1, 7)),
        ("2026-10-25T02:30+01:00", "Europe/Berlin", utc(2026, 10, 25, 1, 30)),
    ],
)
def test_is_one_moment(text, zone, expected):
    assert moment(text, zone) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("2026-12-01 09:00", "2026-12-01 09:00 where? write it like"),
        ("tomorrow", "'tomorrow' is not a moment; write it like"),
        ("2026-12-01 09:00 Berlin", "'Berlin' is not a time zone"),
        (
            "2026-03-29 02:30 Europe/Berlin",
            "does not exist in Europe/Berlin: clocks are put forward then; 03:30 is the same moment",
        ),
        (
            "2026-10-25 02:30 Europe/Berlin",
            "clocks are put back then; say which: '2026-10-25T02:30+02:00' or '2026-10-25T02:30+01:00'",
        ),
    ],
)
def test_what_is_none_or_two_is_refused_with_the_reason(text, complaint):
    with pytest.raises(ValueError) as caught:
        moment(text)

    assert complaint in str(caught.value)


def test_a_local_time_in_a_campaign_file_is_of_its_time_zone(tmp_path):
    options = {"template": "t", "recipients": "r.csv", "start_at": "2026-12-01 09:00"}

    assert from_options({**options, "timezone": "Europe/Berlin"}).start_at == utc(2026, 12, 1, 8)
    with pytest.raises(CampaignError, match="where"):
        from_options(options)
