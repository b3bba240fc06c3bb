"""Options that several commands share, and the campaign file's keys as options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.campaigns.spec import OPTIONS, CampaignSpec, from_options, load
from mailer.errors import InputError

Ledger = Annotated[
    str | None, typer.Option("--ledger", metavar="URL", help="Ledger to use instead of the settings' one.")
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend", metavar="NAME|URL", help="Where mail goes out: a name from mailer.toml, or a URL."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
CampaignFile = Annotated[
    Path | None,
    typer.Argument(metavar="CAMPAIGN", help="The campaign file; without it, options say it all."),
]
CampaignName = Annotated[
    str, typer.Argument(metavar="CAMPAIGN", help="Its id, a unique beginning of it, or the campaign file.")
]

#: Keys that are an option of their own everywhere.
_OWN = frozenset({"backend"})


def with_campaign_keys(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` an option for every key of the campaign file; it receives them as ``overrides``."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "overrides"]
    keys = {f"key_{option.key}": option for option in OPTIONS if option.key not in _OWN}
    parameters = [
        *own,
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_typed(option))
            for name, option in keys.items()
        ),
    ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> Any:
        overrides = {option.key: given.pop(name) for name, option in keys.items()}
        return command(**given, overrides={key: value for key, value in overrides.items() if value})

    wrapper.__dict__["__signature__"] = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _typed(option: Any) -> Any:
    metavar = "KEY=VALUE" if option.table else "VALUE"
    kind = bool | None if option.key == "one_click" else list[str] | None if option.many else str | None
    flags = ("--one-click/--no-one-click",) if option.key == "one_click" else option.flags
    return Annotated[
        kind,  # type: ignore[valid-type]
        typer.Option(*flags, metavar=None if kind == bool | None else metavar, help=option.help),
    ]


def campaign_spec(file: Path | None, overrides: dict[str, Any]) -> CampaignSpec:
    """The campaign that a file, options, or both describe."""
    if file is not None:
        return load(file, overrides)
    if not overrides:
        raise InputError(
            "which campaign?", hint="Name a campaign file, or give --to, --template, --from and --subject."
        )
    return from_options(overrides)
