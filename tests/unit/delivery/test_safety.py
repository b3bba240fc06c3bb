from __future__ import annotations

import pytest

from mailer.delivery.safety import UNRESTRICTED, Safety

ALL = ("one@acme.example", "two@other.example")


@pytest.mark.parametrize(
    ("safety", "envelope"),
    [
        (UNRESTRICTED, ALL),
        (Safety(redirect_to="me@acme.example"), ("me@acme.example",)),
        (Safety(allow_recipients=("*@acme.example",)), None),
        (Safety(allow_recipients=("*@acme.example", "TWO@other.example")), ALL),
        (Safety(redirect_to="me@acme.example", allow_recipients=("*@acme.example",)), ("me@acme.example",)),
        (Safety(redirect_to="me@acme.example", allow_recipients=("*@other.example",)), None),
    ],
)
def test_the_whole_envelope_is_looked_at(safety, envelope):
    assert safety.envelope(ALL) == envelope
