"""From settings to the plain arguments that rooms take; the faces and the workers share this."""

from mailer.wiring.backends import (
    backend_configs,
    backend_name,
    backends_of,
    chosen_backend,
    knows_keys,
    routes,
    with_test_modes,
)
from mailer.wiring.limits import backend_rates, connection_lots, limits_url, sender_rates
from mailer.wiring.safeguards import care, epoch_copy, safety

__all__ = [
    "backend_configs",
    "backend_name",
    "backend_rates",
    "backends_of",
    "care",
    "chosen_backend",
    "connection_lots",
    "epoch_copy",
    "knows_keys",
    "limits_url",
    "routes",
    "safety",
    "sender_rates",
    "with_test_modes",
]
