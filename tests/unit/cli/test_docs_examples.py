"""What the documentation shows: its TOML is read by the real loaders, its commands and options exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer

from mailer.campaigns.loading import load
from mailer.cli.app import COMMANDS, build
from mailer.content.contract import Package
from mailer.content.manifest import manifest
from mailer.delivery.limits.plan import Limits
from mailer.errors import MailerError
from mailer.settings import Settings
from mailer.sink.config import parse
from mailer.wiring import backend_configs, backend_rates, sender_rates

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
INDEX = DOCS / "index.md"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
SPAN = re.compile(r"`([^`\n]+)`")
#: A command up to where the next one, a comment, or the shell takes over.
COMMAND = re.compile(r"^(?:\$ )?mailer (?P<name>[a-z]+)(?P<rest>[^|&#<>]*)")
OPTION = re.compile(r"(?<=\s)--?[a-z][a-z-]*")
#: What a fragment of a campaign file needs to be a campaign.
NEEDED = {"from": "Acme <news@acme.example>", "template": "newsletter", "recipients": "recipients.csv"}
#: Keys that only the mail.toml of a template has.
OF_A_TEMPLATE = {"languages", "sample", "variables", "sensitive"}


class Example(NamedTuple):
    """A piece of a document, with the line where it begins."""

    place: str
    text: str


def fences(document: Path) -> Iterator[tuple[str, Example]]:
    text = document.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        place = f"{document.relative_to(ROOT)}:{line}"
        yield found["kind"], Example(place, textwrap.dedent(found["body"]))


def toml_examples() -> list[Example]:
    return [example for document in DOCUMENTS for kind, example in fences(document) if kind == "toml"]


def command_lines() -> Iterator[Example]:
    """What stands behind a prompt or alone on its line, and what is in a sentence."""
    for document in DOCUMENTS:
        place = str(document.relative_to(ROOT))
        for kind, example in fences(document):
            if kind in {"console", ""}:
                yield from (Example(example.place, line.strip()) for line in example.text.splitlines())
        prose = FENCE.sub("", document.read_text(encoding="utf-8"))
        yield from (Example(place, span) for span in SPAN.findall(prose))


def commands() -> set[tuple[str, str, str]]:
    """Document, command and what is behind it."""
    found = ((line.place, COMMAND.match(line.text)) for line in command_lines())
    return {(place, match["name"], match["rest"]) for place, match in found if match}


def read(text: str, folder: Path) -> str:
    """Read the example as what it is, by the loader that users meet; the name of that kind of file."""
    table = tomllib.loads(text)
    if table.keys() <= {"sink", "rule"}:
        parse(table)
        return "sink"
    if table.keys() <= Settings.model_fields.keys():
        read_settings(text, folder)
        return "mailer.toml"
    if table.keys() & OF_A_TEMPLATE:
        manifest(Package("mail", {"mail/mail.toml": text.encode()}))
        return "mail.toml"
    read_campaign(text, table, folder)
    return "campaign.toml"


def read_settings(text: str, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("hush", encoding="utf-8")
    text = re.sub(r"/run/secrets/\w+", str(secret), text)
    (folder / "mailer.toml").write_text(text, encoding="utf-8")
    settings = Settings.load(folder)
    backend_configs(settings)
    Limits(backend_rates(settings), sender_rates(settings))


def read_campaign(text: str, table: dict[str, Any], folder: Path) -> None:
    missing = "".join(f'{key} = "{value}"\n' for key, value in NEEDED.items() if key not in table)
    file = folder / "campaign.toml"
    file.write_text(missing + text, encoding="utf-8")
    load(file)


@pytest.fixture(autouse=True)
def password(monkeypatch):
    for name in ("SMTP_PASSWORD", "POSTMARK_TOKEN", "LEDGER_PASSWORD"):
        monkeypatch.setenv(name, "p@ss/word")


@pytest.mark.parametrize("example", toml_examples(), ids=lambda example: example.place)
def test_toml_in_the_documentation_is_read(example, tmp_path):
    read(example.text, tmp_path)


def test_every_kind_of_file_is_shown(tmp_path):
    shown = {read(example.text, tmp_path) for example in toml_examples()}

    assert shown == {"sink", "mailer.toml", "mail.toml", "campaign.toml"}


@pytest.mark.parametrize(
    "wrong",
    [
        '[[rule]]\nat = "rctp"\nreply = "550 no"\n',
        '[backends.main]\nurl = "smtp://host:587"\nconections = 3\n',
        '[backends.main]\nurl = "smtp://host:587"\nrate = "often"\n',
        '[backends.main]\nurl = "stmp://host:587"\nhost = "host"\n',
        "sensitive = 7\n",
        'subject = "Hello"\nrecipient = "list.csv"\n',
    ],
)
def test_a_wrong_example_would_be_noticed(wrong, tmp_path):
    with pytest.raises(MailerError):
        read(wrong, tmp_path)


def python_examples() -> list[Example]:
    return [example for document in DOCUMENTS for kind, example in fences(document) if kind == "python"]


@pytest.mark.parametrize("example", python_examples(), ids=lambda example: example.place)
def test_python_in_the_documentation_imports_what_there_is(example):
    for node in ast.walk(ast.parse(example.text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not _has(module, name.name)] == []


def _has(module: ModuleType, name: str) -> bool:
    """A module of a package is there before anybody has imported it."""
    if hasattr(module, name) or not hasattr(module, "__path__"):
        return hasattr(module, name)
    return importlib.util.find_spec(f"{module.__name__}.{name}") is not None


@cache
def options(name: str, part: str) -> frozenset[str]:
    """Of a command; of a group, those of its ``part``."""
    command = typer.main.get_command(build(name)).commands[name]
    if hasattr(command, "commands") and part:
        command = command.commands[part]
    return frozenset(flag for param in command.params for flag in (*param.opts, *param.secondary_opts))


@pytest.mark.parametrize(("place", "name", "rest"), sorted(commands()))
def test_commands_in_the_documentation_exist(place, name, rest):
    assert name in COMMANDS, place

    part = next(iter(re.findall(r"^ ([a-z]+)", rest)), "")
    unknown = set(OPTION.findall(rest)) - options(name, part) - {"--help", "-h"}

    assert unknown == set(), f"{place}: mailer {name}{rest}"


def test_every_command_is_in_the_documentation():
    named = {name for place, name, _ in commands() if not place.startswith("docs/reference/commands.md")}

    assert COMMANDS.keys() - named == set()


def test_the_index_names_every_page_once():
    links = re.findall(r"\]\(([^)#\s]+)", INDEX.read_text(encoding="utf-8"))
    pages = [str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.md") if page != INDEX]

    assert sorted(set(pages) - set(links)) == []
    assert sorted(set(links)) == sorted(links)
