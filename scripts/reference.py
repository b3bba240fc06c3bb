"""Write what the documentation says about settings and commands from the code itself.

``python scripts/reference.py`` rewrites the blocks; a test fails when one of them is out of date.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mailer.settings import ENVIRONMENT, BackendSettings, SafetySettings, Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "reference" / "commands.md"


def settings_tables() -> str:
    """The settings as Markdown tables: mailer.toml, one backend, safety."""
    parts = [
        "| `mailer.toml` | environment | default | what it is |\n|---|---|---|---|",
        *_rows(Settings, with_environment=True),
        "\n| `[backends.NAME]` | default | what it is |\n|---|---|---|",
        *_rows(BackendSettings),
        "\n| `[safety]` | default | what it is |\n|---|---|---|",
        *_rows(SafetySettings),
    ]
    return "\n".join(parts) + "\n"


def _rows(table: type[BaseModel], *, with_environment: bool = False) -> list[str]:
    rows = []
    for name, field in table.model_fields.items():
        if not field.description:
            continue
        variable = f" {_code(ENVIRONMENT.get(name))} |" if with_environment else ""
        rows.append(f"| `{name}` |{variable} {_default(field.default)} | {field.description} |")
    return rows


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _default(value: object) -> str:
    if value in (None, PydanticUndefined):
        return ""
    secret = getattr(value, "get_secret_value", None)
    return f"`{secret() if secret else value}`"


def commands() -> str:
    """The help of every command, as the terminal shows it at 100 columns."""
    overview = _help()
    names = [line.split()[0] for line in overview.partition("Commands:")[2].splitlines() if line.strip()]
    parts = [
        "# Commands",
        "Exit codes: 0 done, 1 some messages did not go, 2 wrong input or settings, 130 interrupted.",
        f"```console\n$ mailer --help\n{overview}```",
    ]
    parts += [f"## {name}\n\n```console\n$ mailer {name} --help\n{_help(name)}```" for name in names]
    return "\n\n".join(parts) + "\n"


def _help(*command: str) -> str:
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    argv = [sys.executable, "-m", "mailer", *command, "--help"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment).stdout  # noqa: S603
    return "\n".join(line.rstrip() for line in shown.splitlines()).strip("\n") + "\n"


def between(text: str, mark: str, block: str) -> str:
    """``text`` with everything between ``<!-- mark -->`` and ``<!-- /mark -->`` replaced."""
    head, start, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, tail = rest.partition(f"<!-- /{mark} -->")
    if not (start and end):
        raise SystemExit(f"no block {mark}")
    return f"{head}{start}{block}{end}{tail}"


def wanted() -> dict[Path, str]:
    """What each generated file should hold."""
    readme = README.read_text(encoding="utf-8")
    return {README: between(readme, "settings", settings_tables()), COMMANDS: commands()}


if __name__ == "__main__":
    for file, text in wanted().items():
        file.write_text(text, encoding="utf-8")
