"""Every knob, read once: ``mailer.toml``, ``.env`` beside it, the environment, the command line.

Later ones win. ``mailer.toml`` is looked for in the working directory and upwards; everything relative
in it is relative to it. Only faces and ``tasks.runtime`` read settings; rooms get plain arguments.
"""

from mailer.settings.faces import ApiSettings, GatewaySettings
from mailer.settings.sending import (
    BackendSettings,
    NotifySettings,
    RouteSettings,
    SafetySettings,
    SenderSettings,
    WarmupSettings,
    as_rates,
)
from mailer.settings.settings import ENVIRONMENT, Settings
from mailer.settings.sources import find_file
from mailer.settings.testmode import tested

__all__ = [
    "ENVIRONMENT",
    "ApiSettings",
    "BackendSettings",
    "GatewaySettings",
    "NotifySettings",
    "RouteSettings",
    "SafetySettings",
    "SenderSettings",
    "Settings",
    "WarmupSettings",
    "as_rates",
    "find_file",
    "tested",
]
