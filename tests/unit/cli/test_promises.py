"""What the documentation and the command overview promise is what the code does."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Typer

import mailer
from mailer.backends import BACKENDS
from mailer.campaigns.loading import load
from mailer.campaigns.spec import KEYS, CampaignSpec
from mailer.cli.app import COMMANDS
from mailer.cli.options import Backend, CampaignFile, campaign_spec, with_campaign_keys
from mailer.errors import CampaignError, MailerError
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


#: Every key of the campaign file with a value that is not its default, as TOML and as options.
AS_OPTIONS = {
    "name": ('"News"', ["--name=News"]),
    "from": ('"Acme <news@acme.example>"', ["--from=Acme <news@acme.example>"]),
    "subject": ('"Hi {{ name }}"', ["--subject=Hi {{ name }}"]),
    "template": ('"letter"', ["--template=letter"]),
    "recipients": ('"/list.csv"', ["--to=/list.csv"]),
    "columns": ('{ email = "Mail" }', ["--column=email=Mail"]),
    "types": ('{ zip = "integer" }', ["--type=zip=integer"]),
    "required": ('["a", "b"]', ["--required=a", "--required=b"]),
    "unique": ("false", ["--unique=false"]),
    "where": ("\"plan == 'pro'\"", ["--where=plan == 'pro'"]),
    "exclude": ('["/a.csv", "/b.csv"]', ["--exclude=/a.csv", "--exclude=/b.csv"]),
    "format": ('"jsonl"', ["--format=jsonl"]),
    "encoding": ('"cp1252"', ["--encoding=cp1252"]),
    "delimiter": ('";"', ["--delimiter=;"]),
    "backend": ('"spare"', ["--backend=spare"]),
    "rate": ('["5/s", "900/d"]', ["--rate=5/s", "--rate=900/d"]),
    "stream": ('"transactional"', ["--stream=transactional"]),
    "priority": ("-7", ["--priority=-7"]),
    "recipients_per_task": ("1", ["--recipients-per-task=1"]),
    "on_unknown": ('"retry"', ["--on-unknown=retry"]),
    "retry_budget": ('"2h"', ["--retry-budget=2h"]),
    "retry_schedule": ('["1m", "1h"]', ["--retry-schedule=1m", "--retry-schedule=1h"]),
    "expires_in": ('"2d"', ["--expires-in=2d"]),
    "reply_to": ('["a@b.example"]', ["--reply-to=a@b.example"]),
    "cc": ('["c@b.example"]', ["--cc=c@b.example"]),
    "bcc": ('["d@b.example"]', ["--bcc=d@b.example"]),
    "headers": ('{ X-A = "1=2" }', ["--header=X-A=1=2"]),
    "attachments": ('["a.pdf", "{{ b }}.pdf"]', ["--attach=a.pdf", "--attachments={{ b }}.pdf"]),
    "list_unsubscribe": ('["https://x.example/u"]', ["--list-unsubscribe=https://x.example/u"]),
    "one_click": ("true", ["--one-click"]),
    "list_id": ('"n.acme.example"', ["--list-id=n.acme.example"]),
    "auto_submitted": ('"auto-generated"', ["--auto-submitted=auto-generated"]),
    "envelope_sender": ('"b@acme.example"', ["--envelope-sender=b@acme.example"]),
    "dsn": ('["success", "delay"]', ["--dsn=success", "--dsn=delay"]),
    "dsn_return": ('"full"', ["--dsn-return=full"]),
    "locale": ('"de"', ["--locale=de"]),
    "timezone": ('"Europe/Berlin"', ["--timezone=Europe/Berlin"]),
    "start_at": ('"2031-12-01 09:00 Europe/Berlin"', ["--at=2031-12-01 09:00 Europe/Berlin"]),
}


def _documented_keys():
    """The first column of the tables in the reference of the campaign file."""
    text = (ROOT / "docs/reference/campaign.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def _spec_by_options(arguments):
    """What the command line makes of them."""
    made = []

    @with_campaign_keys
    def command(campaign: CampaignFile = None, backend: Backend = None, *, overrides: dict[str, Any]) -> None:
        made.append((campaign_spec(campaign, overrides), backend))

    app = Typer()
    app.command()(command)
    app(arguments, standalone_mode=False)
    return made[0]


def test_every_documented_key_of_the_campaign_file_is_an_option_that_means_the_same(tmp_path):
    assert sorted(_documented_keys()) == sorted(AS_OPTIONS)
    file = tmp_path / "campaign.toml"
    file.write_text("\n".join(f"{key} = {value}" for key, (value, _) in AS_OPTIONS.items()))

    wanted = load(file)
    made, backend = _spec_by_options([one for _, options in AS_OPTIONS.values() for one in options])

    assert backend == wanted.backend  # an option of its own on every command that sends
    assert made.model_dump(exclude={"backend"}) == wanted.model_dump(exclude={"backend"})
    assert [key for key in wanted.model_fields_set if getattr(wanted, key) == _default(key)] == []


def _default(key):
    return CampaignSpec.model_fields[key].get_default(call_default_factory=True)


def test_an_option_can_take_back_what_the_file_says(tmp_path):
    file = tmp_path / "campaign.toml"
    file.write_text('template = "a"\nrecipients = "b.csv"\nsubject = "c"\none_click = true\n')

    made, _ = _spec_by_options([str(file), "--no-one-click", "--subject="])

    assert (made.one_click, made.subject) == (False, "")


def test_a_mistake_in_a_table_given_by_options_is_named():
    with pytest.raises(CampaignError, match="unknown key 'mail'; did you mean 'email'"):
        _spec_by_options(["--to=a.csv", "--template=b", "--column=mail=x"])


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


def test_the_version_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "mailer", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"mailer {mailer.__version__}\n"


def test_the_overview_needs_no_heavy_library():
    heavy = {"sqlalchemy", "jinja2", "aiosmtplib", "alembic", "babel", "celery", "mailer.settings"}
    code = f"import sys; from mailer.cli.app import build; build(); print({heavy!r} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_the_matrix_of_faults_names_tests_that_exist():
    named = re.findall(r"tests/[\w/]+(?:\.py)?", (ROOT / "docs" / "faults.md").read_text())

    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []
