"""What a fake provider is told by: how it plays, and every error that its documentation names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.contract.providers.fake import Play, Recorded, Response

#: What the fakes take for a key.
KEY = "key0123456789abcdefX"


@dataclass(frozen=True)
class Row:
    """One documented answer to one message, and what it must become."""

    name: str
    status: int
    body: Any
    outcome: type
    headers: Mapping[str, str] = field(default_factory=dict)
    suppress: bool = False
    slow_down: bool = False
    wait: float | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Role:
    """One provider. ``url`` has {base} where the fake's address goes and {key} for the key."""

    scheme: str
    url: str
    play: Play
    rows: tuple[Row, ...]
    sandbox: str = ""  # what to add to the URL for the provider's test mode
    is_sandboxed: Callable[[Recorded], bool] = lambda request: False
    ids: bool = True  # every message gets an id of its own
    html_only: bool = False  # it takes no message without HTML
    plain: Mapping[str, Any] = field(default_factory=dict)  # what makes the least that it takes
    raw: bool = False  # it takes MIME as it is

    def address(self, base: str, more: str = "", key: str = KEY) -> str:
        url = self.url.format(base=base, key=key)
        return url + ("&" if "?" in url else "?") * bool(more) + more


def unknown_keys(given: Mapping[str, Any], known: str) -> list[str]:
    """Fields that the provider would not know."""
    return sorted(set(given) - set(known.split()))


def refuse(status: int, body: Any) -> Response:
    return Response(status, body)
