"""What keeps mail from going astray: safety rails, care for campaigns nobody watches, a restored ledger."""

from __future__ import annotations

from mailer.campaigns.durations import seconds
from mailer.delivery import epoch
from mailer.delivery.brake import BrakeLimits
from mailer.delivery.epoch import EpochCopy
from mailer.delivery.notices import NotifyConfig
from mailer.delivery.oversight import Care
from mailer.delivery.safety import Safety
from mailer.errors import ConfigError
from mailer.settings import Settings
from mailer.wiring.backends import backends_of, routes
from mailer.wiring.limits import limits_url


def safety(settings: Settings) -> Safety:
    return Safety(settings.safety.redirect_to, tuple(settings.safety.allow_recipients))


def care(settings: Settings) -> Care:
    """What happens to campaigns that nobody watches. Raises ConfigError."""
    rails = settings.safety
    try:
        misfire_after = seconds(settings.misfire_after)
    except ValueError as error:
        raise ConfigError(f"misfire_after: {error}") from None
    limits = BrakeLimits(rails.pause_at_errors, rails.pause_at_policy, rails.pause_at_least)
    ways = {name: route.backends for name, route in routes(settings).items()}
    return Care(limits, misfire_after, _notify(settings), ways)


def _notify(settings: Settings) -> NotifyConfig | None:
    wish = settings.notify
    if wish.webhook is None and wish.email is None:
        return None
    backend = None if wish.email is None else backends_of(settings, wish.backend)[0]
    webhook = wish.webhook.get_secret_value() if wish.webhook else None
    return NotifyConfig(webhook, wish.email, wish.sender, backend)


def epoch_copy(settings: Settings) -> EpochCopy:
    """Where the copy of the ledger's epoch lies that tells a restored ledger (I9)."""
    return epoch.epoch_copy(settings.ledger_url, limits_url(settings))
