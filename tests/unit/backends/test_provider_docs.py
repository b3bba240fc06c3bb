"""The reference of providers says what their modules say."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from mailer.backends import BACKENDS, urls
from mailer.backends.account import COMMON
from mailer.backends.provider import Facts
from mailer.errors import ConfigError
from tests.contract.providers.registry import ROLES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "providers.md"
YES = {True: "yes", False: "no"}


def facts_of(scheme: str) -> Facts:
    return import_module(f"mailer.backends.{scheme}").FACTS


def abilities(scheme: str) -> str:
    """One row of "What each can express"."""
    facts = facts_of(scheme)
    can = facts.features
    size = f"{facts.size / 1_000_000:g} MB" if facts.size else ""
    headers = "no" if can.headers is None else "all but its own" if can.headers else "yes"
    if facts.raw:
        cells = ["MIME, as it is", *["yes"] * 5, YES[can.bcc], YES[can.return_path]]
    else:
        bodies = YES[can.text_only]
        cells = ["fields", headers, YES[can.reply_to > 1], YES[can.inline], bodies, YES[can.both_bodies]]
        cells += [YES[can.bcc], YES[can.return_path]]
    return f"| `{scheme}` | {facts.recipients or ''} | {size} | {' | '.join(cells)} |"


def test_every_provider_has_its_own_page_row():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+):", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [scheme for scheme, _ in rows] == [start for _, start in rows] == list(ROLES)
    assert set(ROLES) <= set(BACKENDS)


@pytest.mark.parametrize("scheme", ROLES)
def test_what_a_provider_can_express_is_told(scheme):
    assert abilities(scheme) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ROLES)
def test_every_option_is_told(scheme):
    config = urls.parse("main", ROLES[scheme].address("https://api.example.com", "no_such_option=1"))
    with pytest.raises(ConfigError) as caught:
        getattr(import_module(f"mailer.backends.{scheme}"), "connect")(config)  # noqa: B009 - by name
    named = re.search(r"expected one of: ([a-z0-9_, ]+)", str(caught.value))
    assert named
    options = set(named[1].split(", ")) - set(COMMON)
    row = next(
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{scheme}`, ")
    )
    assert set(re.findall(r"`(\w+)`", row)) == {scheme, *options}


@pytest.mark.parametrize("scheme", ROLES)
def test_limits_are_told(scheme):
    facts = facts_of(scheme)
    can = facts.features
    rows = re.findall(rf"^\| `{scheme}` \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = " ".join(row for row in rows if row.count("|") == 4)
    expected = [
        f"{can.subject} characters" if can.subject else "",
        f"{can.text_octets // 1_000_000} MB" if can.text_octets else "",
        f"{can.shortest} characters at least" if can.shortest else "",
        f"in {facts.horizon / 86_400:g} days" if facts.horizon else "",
        "PDF" if can.kinds else "",
    ]
    assert [words for words in expected if words not in told] == []
    assert bool(facts.pool) == (scheme in {"sendgrid", "brevo"})
