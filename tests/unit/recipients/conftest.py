"""A list of recipients from text or bytes, read the way a campaign reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailer.campaigns import recipients
from mailer.campaigns.recipients import Invalid, Reader, Recipient, RecipientSource
from mailer.errors import RecipientsError

Opened = Callable[..., Reader]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens a reader on this content; ``suffix`` names the file, the rest is the source's."""

    def opened(content: str | bytes, suffix: str = ".csv", **source: Any) -> Reader:
        path = tmp_path / f"list{suffix}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return recipients.open(RecipientSource(path, **source))

    return opened


@pytest.fixture
def stopped(opened: Opened) -> Callable[..., RecipientsError]:
    """The error that opening this content, or reading it to the end, stops with."""

    def stopped(content: str | bytes, suffix: str = ".csv", **source: Any) -> RecipientsError:
        with pytest.raises(RecipientsError) as caught:
            list(opened(content, suffix, **source))
        return caught.value

    return stopped


def valid(reader: Reader) -> list[Recipient]:
    return [entry for entry in reader if isinstance(entry, Recipient)]


def invalid(reader: Reader) -> list[tuple[int, str | None, str]]:
    return [(entry.line, entry.column, entry.reason) for entry in reader if isinstance(entry, Invalid)]


@pytest.fixture
def people() -> Callable[[Reader], list[Recipient]]:
    return valid


@pytest.fixture
def refused() -> Callable[[Reader], list[tuple[int, str | None, str]]]:
    return invalid
