"""A recipient list plus a template becomes a campaign, and afterwards you know exactly who got it.

Applications send single messages: ``from mailer import Mailer``. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailer.client.mailer import Mailer
    from mailer.outbox.contract import Attachment, Message, Receipt, Status, Try

    __version__: str

__all__ = ["Attachment", "Mailer", "Message", "Receipt", "Status", "Try", "__version__"]

_HOMES = {"Mailer": "mailer.client.mailer"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "mailer.outbox.contract")), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mailer-worker")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
