"""What the documentation and the command overview promise is what the code does."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer import Typer

from mailer.backends import BACKENDS
from mailer.campaigns.spec import KEYS
from mailer.cli.app import COMMANDS
from mailer.errors import MailerError
from scripts import reference

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("file", reference.WRITTEN, ids=lambda file: file.name)
def test_generated_reference_is_up_to_date(file):
    written = reference.WRITTEN[file]()

    assert written == file.read_text(encoding="utf-8"), "run: python -m scripts.reference"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_the_same_in_the_overview_and_in_its_help(name):
    module, purpose = COMMANDS[name]
    found = getattr(importlib.import_module(f"mailer.cli.{module}"), name)
    parts = [one.callback.__doc__ for one in found.registered_commands] if isinstance(found, Typer) else []
    texts = [found.info.help if isinstance(found, Typer) else found.__doc__, *parts]

    assert purpose.startswith(inspect.cleandoc(texts[0]).splitlines()[0].removesuffix("."))
    for text in texts:
        assert "\nExample: mailer " in inspect.cleandoc(text)


@pytest.mark.parametrize("scheme", BACKENDS)
def test_every_backend_is_documented(scheme):
    assert f"`{scheme}`" in (ROOT / "docs/reference/backends.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_campaign_file_is_documented(key):
    assert f"`{key}`" in (ROOT / "docs/reference/campaign.md").read_text(encoding="utf-8")


def test_every_link_between_documents_leads_somewhere():
    documents = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]

    assert broken == []


def test_the_readme_shows_both_commands_before_line_20():
    head = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])

    assert "make demo" in head
    assert "make test" in head


def test_the_tree_of_errors_is_the_docstring_of_their_module():
    def tree(kind):
        for child in kind.__subclasses__():
            if child.__module__ == "mailer.errors":
                yield child.__name__
                yield from tree(child)

    listed = re.findall(r"^ *[*x+] (\w+)", sys.modules["mailer.errors"].__doc__, re.MULTILINE)

    assert sorted(listed) == sorted(["MailerError", *tree(MailerError)])


def test_the_overview_needs_no_heavy_library():
    heavy = {"sqlalchemy", "jinja2", "aiosmtplib", "alembic", "babel", "celery", "mailer.settings"}
    code = f"import sys; from mailer.cli.app import build; build(); print({heavy!r} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_the_matrix_of_faults_names_tests_that_exist():
    named = re.findall(r"tests/[\w/]+(?:\.py)?", (ROOT / "docs" / "faults.md").read_text())

    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []
