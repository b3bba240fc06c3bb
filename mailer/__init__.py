"""A recipient list plus a template becomes a campaign, and afterwards you know exactly who got it.

Applications send single messages: ``from mailer import Mailer``. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailer.client.mailer import Mailer
    from mailer.outbox.contract import Attachment, Message, Receipt, Status, Try

try:
    __version__ = version("mailer-worker")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Attachment", "Mailer", "Message", "Receipt", "Status", "Try", "__version__"]

_HOMES = {"Mailer": "mailer.client.mailer"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "mailer.outbox.contract")), name)
