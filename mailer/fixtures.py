"""What pytest finds by itself in an application's tests (entry point ``pytest11``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mailer.testing import Outbox


@pytest.fixture
def mailer_outbox() -> Iterator[Outbox]:
    """Everything that the code under test hands over to any Mailer."""
    from mailer.testing import outbox

    with outbox() as box:
        yield box
