"""Options that several commands share, and the campaign file's keys as options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from typer.models import OptionInfo

from mailer.campaigns.loading import from_options, load
from mailer.campaigns.spec import OPTIONS, CampaignSpec, Option
from mailer.errors import ConfigError, InputError

T = TypeVar("T")
Given = TypeVar("Given")

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


def parsed(flag: str, parse: Callable[[Given], T], given: Given) -> T:
    """What was given with this option. Raises InputError that names it where ``parse`` raises ValueError or
    ConfigError."""
    try:
        return parse(given)
    except (ValueError, ConfigError) as error:
        raise InputError(f"{flag}: {error}") from None


def with_campaign_keys(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` an option for every key of the campaign file; it receives them as ``overrides``."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "overrides"]
    taken = {flag for parameter in own for flag in _flags(parameter)}
    keys = {f"key_{option.key}": option for option in OPTIONS if option.key not in _OWN}
    parameters = [
        *own,
        *(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_typed(option, taken)
            )
            for name, option in keys.items()
        ),
    ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> Any:
        overrides = {option.key: given.pop(name) for name, option in keys.items()}
        # What was not given is None, or of several none. False and "" were given, and win over the file.
        told = {key: value for key, value in overrides.items() if value is not None and value != []}
        return command(**given, overrides=told)

    wrapper.__dict__["__signature__"] = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _flags(parameter: inspect.Parameter) -> tuple[str, ...]:
    """The flags of a command's own option."""
    options = [one for one in get_args(parameter.annotation)[1:] if isinstance(one, OptionInfo)]
    return tuple(flag for one in options for flag in (one.default, *(one.param_decls or ())) if flag)


def _typed(option: Option, taken: set[str]) -> Any:
    """The annotation that typer reads. A flag that the command itself uses is left to it."""
    if option.key == "one_click":
        return Annotated[bool | None, typer.Option("--one-click/--no-one-click", help=option.help)]
    flags = [flag for flag in option.flags if flag not in taken]
    metavar = "KEY=VALUE" if option.table else "VALUE"
    if option.many:
        return Annotated[list[str] | None, typer.Option(*flags, metavar=metavar, help=option.help)]
    return Annotated[str | None, typer.Option(*flags, metavar=metavar, help=option.help)]


def campaign_spec(file: Path | None, overrides: dict[str, Any]) -> CampaignSpec:
    """The campaign that a file, options, or both describe."""
    if file is not None:
        return load(file, overrides)
    if not overrides:
        raise InputError(
            "which campaign?", hint="Name a campaign file, or give --to, --template, --from and --subject."
        )
    return from_options(overrides)
