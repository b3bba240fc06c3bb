"""Write what the documentation says about settings and commands from the code itself.

``python -m scripts.reference`` rewrites the blocks; a test fails when one of them is out of date.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer import Typer
from typer.models import CommandInfo
from typer.testing import CliRunner

from mailer.backends.presets import PRESETS
from mailer.cli.app import COMMANDS, build
from mailer.settings import (
    ENVIRONMENT,
    ApiSettings,
    BackendSettings,
    GatewaySettings,
    NotifySettings,
    RouteSettings,
    SafetySettings,
    SenderSettings,
    Settings,
    WarmupSettings,
)

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS_PAGE = ROOT / "docs" / "reference" / "commands.md"
LIMITS_PAGE = ROOT / "docs" / "reference" / "limits.md"


def settings_tables() -> str:
    """The settings as Markdown tables: mailer.toml, one backend, safety."""
    parts = [
        "| `mailer.toml` | environment | default | what it is |\n|---|---|---|---|",
        *_rows(Settings, with_environment=True),
        "\n| `[backends.NAME]` | default | what it is |\n|---|---|---|",
        *_rows(BackendSettings),
        "\n| `[backends.NAME.warmup]` | default | what it is |\n|---|---|---|",
        *_rows(WarmupSettings),
        '\n| `[senders."DOMAIN"]` | default | what it is |\n|---|---|---|',
        *_rows(SenderSettings),
        "\n| `[routes.NAME]` | default | what it is |\n|---|---|---|",
        *_rows(RouteSettings),
        "\n| `[safety]` | default | what it is |\n|---|---|---|",
        *_rows(SafetySettings),
        "\n| `[notify]` | default | what it is |\n|---|---|---|",
        *_rows(NotifySettings),
        "\n| `[api]` | default | what it is |\n|---|---|---|",
        *_rows(ApiSettings),
        "\n| `[gateway]` | default | what it is |\n|---|---|---|",
        *_rows(GatewaySettings),
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


def relays() -> str:
    """What is known of well-known relays."""
    rows = [
        f"| `{name}` | {_codes(one.hosts)} | {_codes(one.rates)} | {one.connections} | {one.source} |"
        for name, one in PRESETS.items()
    ]
    head = "| preset | recognised by | rate | connections | from |\n|---|---|---|---|---|"
    return "\n".join([head, *rows]) + "\n"


def _codes(texts: tuple[str, ...]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def commands() -> str:
    """The help of every command, as the terminal shows it at 100 columns."""
    parts = [
        "# Commands",
        "Exit codes: 0 done, 1 some messages did not go, 2 wrong input or settings, 130 interrupted.",
        f"```console\n$ mailer --help\n{_help()}```",
    ]
    for name, (module, _) in COMMANDS.items():
        found = getattr(importlib.import_module(f"mailer.cli.{module}"), name)
        parts.append(f"## {name}\n\n{_shown(name)}")
        parts += [_shown(name, one.name or one.callback.__name__) for one in _parts(found)]
    return "\n\n".join(parts) + "\n"


def _parts(found: object) -> list[CommandInfo]:
    return found.registered_commands if isinstance(found, Typer) else []


def _shown(*command: str) -> str:
    return f"```console\n$ mailer {' '.join(command)} --help\n{_help(*command)}```"


def _help(*command: str) -> str:
    environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    shown = CliRunner().invoke(
        build(command[0] if command else None),
        [*command, "--help"],
        prog_name="mailer",
        env=environment,
        catch_exceptions=False,
    )
    return "\n".join(line.rstrip() for line in shown.output.splitlines()).strip("\n") + "\n"


def between(text: str, mark: str, block: str) -> str:
    """``text`` with everything between ``<!-- mark -->`` and ``<!-- /mark -->`` replaced."""
    head, start, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, tail = rest.partition(f"<!-- /{mark} -->")
    if not (start and end):
        raise SystemExit(f"no block {mark}")
    return f"{head}{start}{block}{end}{tail}"


#: Each generated file, and what it should hold.
WRITTEN = {
    README: lambda: between(README.read_text(encoding="utf-8"), "settings", settings_tables()),
    COMMANDS_PAGE: commands,
    LIMITS_PAGE: lambda: between(LIMITS_PAGE.read_text(encoding="utf-8"), "relays", relays()),
}


if __name__ == "__main__":
    for file, text in WRITTEN.items():
        file.write_text(text(), encoding="utf-8")
