"""The reference names everything that exists, and its examples work."""

import re
import tomllib
from pathlib import Path

import pytest

from mailer.backends import BACKENDS
from mailer.sink import config as sink_config

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def blocks(page: str, language: str) -> list[str]:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_backend_is_in_the_reference():
    table = (REFERENCE / "backends.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \| [a-zA-Z]", table, re.MULTILINE)) >= set(BACKENDS)


@pytest.mark.parametrize("option", ["args", "timeout", "format", "keep", "size"])
def test_every_option_is_in_the_reference(option):
    assert f"`{option}`" in (REFERENCE / "backends.md").read_text(encoding="utf-8")


def test_every_key_of_the_sink_is_in_the_reference():
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", (REFERENCE / "sink.md").read_text(), re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) == {*sink_config.SINK_KEYS, *sink_config.RULE_KEYS}


def test_the_example_rules_can_be_read():
    (example,) = blocks("sink.md", "toml")
    rules = sink_config.parse(tomllib.loads(example)).rules
    assert [rule.at for rule in rules] == ["rcpt", "rcpt", "dot", "dot"]


@pytest.mark.parametrize("page", ["sink.md", "backends.md"])
def test_the_python_examples_run(page):
    for example in blocks(page, "python"):
        exec(compile(example, page, "exec"), {})
