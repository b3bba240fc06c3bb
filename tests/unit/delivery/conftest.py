from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.delivering import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Its clock stands; ``run_embedded`` goes by its own."""
    world = World(tmp_path)
    world.clock.stand()
    yield world
    await world.close()
