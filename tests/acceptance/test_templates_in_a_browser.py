"""What ``templates/`` ships, in a real browser: phone and desk, light and dark, with long words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer import Mailer
from mailer.testing import outbox
from tests.servers import PATIENCE, need

playwright = pytest.importorskip("playwright.sync_api")

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
NAMES = sorted(file.parent.name for file in TEMPLATES.glob("*/mail.toml"))
LONG = "Donaudampfschifffahrtsgesellschaftskapitänspatentinhaberinnenverband"
WIDTHS = (320, 390, 1200)
#: WCAG 2.2, 1.4.3: the contrast of every text with what is behind it; less is enough for large text.
FAINT = """() => {
  const colour = text => text.match(/[\\d.]+/g).map(Number)
  const light = parts => parts.slice(0, 3).map(p => p / 255)
    .map(p => p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4)
    .reduce((sum, p, i) => sum + p * [0.2126, 0.7152, 0.0722][i], 0)
  const behind = e => {
    for (; e; e = e.parentElement) {
      const found = colour(getComputedStyle(e).backgroundColor)
      if (found.length < 4 || found[3]) return found
    }
    return [255, 255, 255]
  }
  const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement, style = getComputedStyle(e)
    if (!node.data.trim() || !e.getClientRects().length) continue
    const [a, b] = [light(colour(style.color)), light(behind(e))].sort((x, y) => y - x)
    const large = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24)
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.push(node.data.trim())
  }
  return faint
}"""


def longer(value: Any) -> Any:
    """The same with words that no line holds; numbers, dates and codes are as long as they are."""
    if isinstance(value, list):
        return [longer(one) for one in value]
    if isinstance(value, dict):
        return {name: longer(one) for name, one in value.items()}
    if not isinstance(value, str) or re.fullmatch(r"[\w.-]*\d|[A-Z]{3}|\d{4}-\d\d-\d\d.*", value):
        return value
    return value + ("/" + "x" * 200 if "://" in value else LONG)


@pytest.fixture(scope="module")
def pages() -> Iterator[Any]:
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        binary, patience = need("chromium"), PATIENCE * 1000
        browser = driver.chromium.launch(executable_path=binary, args=quiet, timeout=patience)
        pages = {scheme: browser.new_page(color_scheme=scheme) for scheme in ("light", "dark")}
        for page in pages.values():
            page.set_default_timeout(patience)
        yield pages
        browser.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_every_screen_and_can_be_read(pages, name):
    sample = tomllib.loads((TEMPLATES / name / "mail.toml").read_text())["sample"]
    with outbox(TEMPLATES, TEMPLATES) as box:
        Mailer().send(name, to="ann@example.org", data=longer(sample))

    for page in pages.values():
        page.set_content(box.messages[0].html)  # images are blocked, as in many a mailbox
        assert page.evaluate(FAINT) == []
    assert page.evaluate("document.documentElement.lang"), "screen readers need to know the language"
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
