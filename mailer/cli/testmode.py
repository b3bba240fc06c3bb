"""A campaign in the test mode of its provider: ``mailer send --sandbox``, and what follows from it."""

from __future__ import annotations

from mailer.backends import sandboxed
from mailer.ledger.contract import Campaign
from mailer.settings import Settings, tested
from mailer.wiring import backends_of, chosen_backend


def in_test_mode(settings: Settings, wish: str | None) -> tuple[Settings, str]:
    """Settings that know this backend in its test mode, and its name there.

    Raises ConfigError where it has none, or where one of a route has none.
    """
    settings, twin = tested(settings, chosen_backend(settings, wish))
    for config in backends_of(settings, twin):
        sandboxed(config)
    return settings, twin


def as_opened(settings: Settings, campaign: Campaign, wish: str | None) -> tuple[Settings, str | None]:
    """What was opened in test mode stays there, whatever backend is wished for."""
    if not campaign.spec.get("sandbox"):
        return settings, wish
    return in_test_mode(settings, wish or campaign.backend)
