"""The page on recipients names what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailer.campaigns.recipients.conditions import FUNCTIONS
from mailer.campaigns.recipients.kinds import FORMATS
from mailer.content.celltypes import TYPES

PAGE = (Path(__file__).parents[3] / "docs/reference/recipients.md").read_text(encoding="utf-8")


NAMES = (
    [f"{name}(" for name in FUNCTIONS] + [f"`.{name}`" for name in FORMATS] + [f"`{name}`" for name in TYPES]
)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_names_it(name):
    assert name in PAGE
