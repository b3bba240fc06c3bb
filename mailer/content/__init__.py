"""From a template and a row to bytes. Loads what it needs when it is asked for it."""

from __future__ import annotations

from typing import Any

__all__ = ["compile"]


def __getattr__(name: str) -> Any:
    if name == "compile":
        from mailer.content.composer import compile_mail

        return compile_mail
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
