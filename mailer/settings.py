"""Every knob, read once: ``mailer.toml``, ``.env`` beside it, the environment, the command line.

Later ones win. ``mailer.toml`` is looked for in the working directory and upwards; everything relative
in it is relative to it. Only faces and ``tasks.runtime`` read settings; rooms get plain arguments.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from mailer.address import Address, AddressError
from mailer.errors import ConfigError

FILE_NAME = "mailer.toml"

#: Settings that the environment may set, and the variable that does.
ENVIRONMENT = {
    "ledger": "MAILER_LEDGER_URL",
    "broker": "MAILER_BROKER_URL",
    "limits": "MAILER_LIMITS_URL",
    "lease_seconds": "MAILER_LEASE_SECONDS",
    "files": "MAILER_FILES",
    "templates": "MAILER_TEMPLATES",
    "backend": "MAILER_BACKEND",
    "processes": "MAILER_PROCESSES",
    "recipients_per_task": "MAILER_RECIPIENTS_PER_TASK",
    "metrics_port": "MAILER_METRICS_PORT",
    "metrics_host": "MAILER_METRICS_HOST",
    "log_format": "MAILER_LOG_FORMAT",
    "log_level": "MAILER_LOG_LEVEL",
}

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _bare_address(text: str | None) -> str | None:
    """Without a name: it goes into envelopes."""
    try:
        return text and Address.parse(text).addr
    except AddressError as error:
        raise ValueError(f"not an address: {error.reason}") from None


def _share(value: Any) -> Any:
    """A part of the whole: ``"5%"``, or 0.05."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip().removesuffix("%")) / 100
        except ValueError:
            raise ValueError(f'{value!r} is not a share; write it like "5%"') from None
    return value


Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WarmupSettings(_Table):
    """``[backends.NAME.warmup]``: so many on the first day of sending, so many on the second, …"""

    schedule: list[PositiveInt] = Field(
        default_factory=list,
        description="messages of the first, second, … day on which anything is sent: `[50, 100, 500, 1000]`",
    )
    lanes: dict[str, list[PositiveInt]] = Field(
        default_factory=dict, description="the same per provider group: `{ gmail = [20, 40, 80] }`"
    )
    domains: dict[str, list[PositiveInt]] = Field(
        default_factory=dict, description='the same per recipient domain: `{ "example.org" = [10, 20] }`'
    )


class BackendSettings(_Table):
    """One ``[backends.NAME]``: a URL, or host and login apart; secrets hide themselves."""

    url: SecretStr | None = Field(
        None, description="`smtp://user:${SMTP_PASSWORD}@host:587`, or leave it out and give `host`"
    )
    host: str | None = Field(None, description="server name, in place of `url`")
    port: int | None = Field(None, ge=1, le=65535, description="default: what the scheme uses")
    scheme: str = Field("smtp", description="with `host`: `smtp` (STARTTLS) or `smtps` (TLS from the start)")
    user: str | None = Field(None, description="login name")
    password: SecretStr | None = Field(None, description="login password; better: `password_file`")
    password_file: Path | None = Field(None, description="file that holds the password, as a secret mount")
    key_file: Path | None = Field(None, description="file that holds a provider's API key")
    connections: int = Field(10, ge=1, le=1000, description="connections in total, over all processes")
    transactional_reserve: int = Field(
        1, ge=0, le=1000, description="of these, how many workers never use for bulk mail"
    )
    rate: str | list[str] = Field(
        default_factory=list, description='limits, all must allow: `"100/s"` or `["100/s", "50000/d"]`'
    )
    lanes: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description='limits per provider group: `{ gmail = "20/s", microsoft = "10/s" }`',
    )
    domains: dict[str, str | list[str]] = Field(
        default_factory=dict, description='limits per recipient domain: `{ "example.org" = "1/s" }`'
    )
    warmup: WarmupSettings = Field(
        default_factory=lambda: WarmupSettings.model_validate({}),
        description="`[backends.NAME.warmup]`, see below",
    )
    preset: str | None = Field(
        None,
        description="known relay whose limits hold where none are given; default: by host; `none`: no such",
    )
    directory: Path = Field(Path(), exclude=True, description="")
    options: dict[str, str | int | bool] = Field(
        default_factory=dict, description="what may also stand behind `?` in the URL, such as `tls`"
    )

    @model_validator(mode="after")
    def _one_way_to_say_where(self) -> BackendSettings:
        if (self.url is None) == (self.host is None):
            raise ValueError("give either url or host")
        if sum(one is not None for one in (self.password, self.password_file, self.key_file)) > 1:
            raise ValueError("give one of password, password_file and key_file")
        return self

    @property
    def rates(self) -> tuple[str, ...]:
        return as_rates(self.rate)

    def address(self) -> str:
        """The URL to connect to, with its secrets if they stand in it."""
        if self.url is not None:
            return self.url.get_secret_value()
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port else ''}"

    def secret(self) -> str | None:
        """The password given apart from the URL. Raises ConfigError when its file cannot be read."""
        if self.password is not None:
            return self.password.get_secret_value()
        file = self.password_file or self.key_file
        if file is None:
            return None
        try:
            return (self.directory / file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            name = "password_file" if self.password_file else "key_file"
            raise ConfigError(f"{name} {file}: {_reason(error)}") from error


class SenderSettings(_Table):
    """``[senders."acme.example"]``: limits of a domain that mail is sent from, over all backends."""

    rate: str | list[str] = Field(description="limits of what is sent from this domain, all must allow")


class RouteSettings(_Table):
    """One ``[routes.NAME]``: several backends under a name that campaigns use like a backend's."""

    backends: list[str] | dict[str, int] = Field(
        description='`["main", "spare"]`: the first that works; `{ main = 3, spare = 1 }`: by weight'
    )

    @field_validator("backends", mode="before")
    @classmethod
    def _names_or_weights(cls, value: Any) -> Any:
        """Said once and in words, where the two types would each complain."""
        names, weights = (list(value), value.values()) if isinstance(value, dict) else (value, ())
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError('give names in order, ["main", "spare"], or weights, { main = 3, spare = 1 }')
        if not all(type(weight) is int and 1 <= weight <= 1000 for weight in weights):
            raise ValueError("weights are whole numbers from 1 to 1000")
        if twice := [name for name, often in Counter(names).items() if often > 1]:
            raise ValueError(f"{', '.join(twice)} is named more than once")
        return value


class SafetySettings(_Table):
    """``[safety]``: enforced in the engine, for every face."""

    redirect_to: str | None = Field(None, description="every message goes to this address instead (staging)")
    allow_recipients: list[str] = Field(
        default_factory=list,
        description='nothing leaves for other addresses: `["*@acme.example"]`; empty: no restriction',
    )
    pause_at_errors: Share = Field(
        0.0,
        description="a campaign pauses when more than this share of the last 1,000 was refused or failed: "
        '`"5%"`; 0: never',
    )
    pause_at_policy: Share = Field(
        0.0, description='the same for refusals over policy or reputation (5.7.x): `"3%"`; 0: never'
    )
    pause_at_least: int = Field(100, ge=1, description="nothing is judged by fewer recipients than this")

    @field_validator("redirect_to")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return _bare_address(value)

    @field_validator("allow_recipients")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            if "@" not in pattern and pattern != "*":
                raise ValueError(f"{pattern!r} fits no address; for all of a domain write '*@{pattern}'")
        return value


class NotifySettings(_Table):
    """``[notify]``: who is told when a campaign pauses by itself or finishes."""

    webhook: SecretStr | None = Field(
        None, description="URL that gets the status object as JSON, with `event` and `reason`"
    )
    email: str | None = Field(None, description="address that gets a short message")
    sender: str | None = Field(None, description="address it comes from; default: `email` itself")
    backend: str | None = Field(
        None, description="backend that carries it, a name from below; default: the settings' `backend`"
    )

    @field_validator("email", "sender")
    @classmethod
    def _bare(cls, value: str | None) -> str | None:
        return _bare_address(value)

    @field_validator("webhook")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("write a URL: https://…")
        return value


class ApiSettings(_Table):
    """``[api]``: what `mailer serve` takes, and how much of it."""

    queue_limit: int = Field(
        1_000_000, ge=1, description="no message is taken while more than so many wait to be sent"
    )
    max_body: int = Field(30_000_000, ge=1000, description="bytes of a request with messages")
    max_upload: int = Field(1_000_000_000, ge=1000, description="bytes of a request with a recipient list")
    docs: bool = Field(False, description="show the API's documentation at `/docs`")


class GatewaySettings(_Table):
    """``[gateway]``: what ``mailer gateway`` listens on, and what it takes."""

    host: str = Field("127.0.0.1", description="address to listen on; `0.0.0.0`: all")
    port: int | None = Field(587, ge=0, le=65535, description="port for STARTTLS")
    tls_port: int | None = Field(
        None, ge=0, le=65535, description="port for TLS from the first octet on: 465"
    )
    hostname: str | None = Field(None, description="name in the greeting; default: this machine's")
    certificate: Path | None = Field(
        None, description="PEM file with the chain; read again when it is renewed"
    )
    key: Path | None = Field(None, description="PEM file with the private key")
    backend: str | None = Field(
        None, description="backend that carries what comes in; default: the settings' `backend`"
    )
    max_size: int = Field(25_000_000, ge=1000, le=100_000_000, description="octets of a message; then 552")
    max_recipients: int = Field(100, ge=1, le=10_000, description="recipients of a message; then 452")
    max_connections: int = Field(200, ge=1, le=10_000, description="connections at once; then 421")
    rate: str | list[str] = Field(
        default_factory=list,
        description='recipients that each client may hand over: `"100/s"`; then 451. A key may have its own',
    )
    allow_networks: list[IPv4Network | IPv6Network] = Field(
        default_factory=list,
        description='networks of devices that cannot log in, and send as anybody: `["10.0.7.0/24"]`',
    )


class Settings(_Table):
    """All settings, frozen. Relative paths are resolved against ``directory``."""

    directory: Path = Field(Path(), exclude=True, description="")
    file: Path | None = Field(None, exclude=True, description="")
    ledger: SecretStr = Field(
        SecretStr("sqlite:///mailer.db"),
        description="where the ledger is: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/DATABASE`",
    )
    broker: SecretStr | None = Field(
        None, description="Celery broker for `mailer enqueue` and `mailer worker`: `redis://host:6379/0`"
    )
    limits: SecretStr | None = Field(
        None,
        description="where workers share limits: `redis://host:6379/0`, or `ledger`; "
        "default: the broker if that is Redis, else the ledger",
    )
    backend: str | None = Field(
        None, description="backend of campaigns that name none; default: the only one there is"
    )
    backends: dict[str, BackendSettings] = Field(
        default_factory=dict, description="`[backends.NAME]`, see below"
    )
    senders: dict[str, SenderSettings] = Field(
        default_factory=dict, description='`[senders."acme.example"]`, see below'
    )
    routes: dict[str, RouteSettings] = Field(
        default_factory=dict, description="`[routes.NAME]`, several backends for one campaign, see below"
    )
    safety: SafetySettings = Field(
        default_factory=lambda: SafetySettings.model_validate({}), description="`[safety]`, see below"
    )
    notify: NotifySettings = Field(
        default_factory=lambda: NotifySettings.model_validate({}), description="`[notify]`, see below"
    )
    api: ApiSettings = Field(
        default_factory=lambda: ApiSettings.model_validate({}), description="`[api]`, see below"
    )
    gateway: GatewaySettings = Field(
        default_factory=lambda: GatewaySettings.model_validate({}), description="`[gateway]`, see below"
    )
    misfire_after: str = Field(
        "1h", description="a scheduled campaign that starts later than this waits for `mailer resume`"
    )
    templates: Path = Field(Path("templates"), description="folder that holds the template folders")
    files: Path = Field(Path(), description="root of attachments; on several machines a mount that all share")
    processes: int = Field(1, ge=1, le=64, description="processes that `mailer send` uses")
    lease_seconds: float = Field(
        60.0, gt=0, le=3600, description="how long a claimed slice may go without a sign of life"
    )
    stalled_seconds: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="a worker that fetches nothing for so long although hints wait is replaced",
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="`mailer worker` serves `/metrics` and `/healthz` on this port"
    )
    metrics_host: str = Field("127.0.0.1", description="address of `metrics_port`; `0.0.0.0`: all")
    log_format: Literal["text", "json"] = Field("text", description="logs of workers: `text` or `json`")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="what workers log: `debug`, `info`, `warning` or `error`"
    )
    recipients_per_task: int = Field(200, ge=1, le=10_000, description="recipients per hint and Celery task")

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Settings:
        for name, route in self.routes.items():
            if name in self.backends:
                raise ValueError(f"routes.{name}: there is a backend of this name; call the route otherwise")
            if unknown := [one for one in route.backends if one not in self.backends]:
                raise ValueError(f"routes.{name}: no backend {', '.join(unknown)}; {_there(self.backends)}")
        return self

    @property
    def ledger_url(self) -> str:
        """The ledger's URL; a relative SQLite path becomes absolute, beside ``mailer.toml``."""
        url = self.ledger.get_secret_value()
        scheme, separator, path = url.partition(":///")
        if not separator or not scheme.startswith("sqlite"):
            return url
        return f"{scheme}:///{(self.directory / path).absolute()}"

    @property
    def broker_url(self) -> str | None:
        return self.broker.get_secret_value() if self.broker else None

    @property
    def template_root(self) -> Path:
        return (self.directory / self.templates).absolute()

    @property
    def files_root(self) -> Path:
        return (self.directory / self.files).absolute()

    @classmethod
    def load(cls, start: Path | None = None, **overrides: Any) -> Settings:
        """Read everything once. ``overrides`` that are None do not count.

        Raises ConfigError that lists every complaint, with the file and the key.
        """
        file = find_file(start or Path.cwd())
        directory = (file.parent if file else (start or Path.cwd())).absolute()
        environment = {**_dotenv(directory), **os.environ}
        values = _toml(file) if file else {}
        values = _substitute(values, environment, file)
        for key, variable in ENVIRONMENT.items():
            if environment.get(variable):
                values[key] = environment[variable]
        values.update({key: value for key, value in overrides.items() if value is not None})
        values.pop("directory", None)
        for backend in _tables(values.get("backends")):
            backend.setdefault("directory", directory)
        try:
            return cls.model_validate({**values, "directory": directory, "file": file})
        except ValidationError as error:
            raise ConfigError(_complaints(error, file)) from None


def _tables(value: Any) -> list[dict[str, Any]]:
    """The tables in a table; whatever else is there is complained about when it is validated."""
    return [one for one in value.values() if isinstance(one, dict)] if isinstance(value, dict) else []


def find_file(start: Path) -> Path | None:
    """``mailer.toml`` in ``start`` or the nearest folder above it."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def as_rates(rate: str | list[str]) -> tuple[str, ...]:
    """One limit or several, as several."""
    return (rate,) if isinstance(rate, str) else tuple(rate)


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {_reason(error)}") from None


def _dotenv(directory: Path) -> dict[str, str]:
    file = directory / ".env"
    if not file.is_file():
        return {}
    try:
        return {key: value for key, value in dotenv_values(file).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {_reason(error)}") from None


def _substitute(value: Any, environment: Mapping[str, str], file: Path | None, key: str = "") -> Any:
    """Put the environment in place of ``${NAME}``; percent-encoded inside a URL."""
    if isinstance(value, dict):
        return {k: _substitute(v, environment, file, f"{key}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environment, file, key) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise ConfigError(
                f"{file}: {key} needs the environment variable {name}; set it, or write it to .env beside it"
            )
        inside_url = "://" in value[: match.start()]
        return quote(environment[name], safe="") if inside_url else environment[name]

    return _VARIABLE.sub(fill, value)


def _complaints(error: ValidationError, file: Path | None) -> str:
    lines = [f"  {place}: {text}" for place, text in _each(error)]
    return "\n".join([f"{file or 'settings'}:", *lines])


def _each(error: ValidationError) -> Iterator[tuple[str, str]]:
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"]) or "settings"
        if item["type"] == "extra_forbidden":
            yield place, f"no such setting{_meant(item['loc'])}"
        else:
            yield place, item["msg"].removeprefix("Value error, ")


def _meant(place: tuple[int | str, ...]) -> str:
    tables: dict[str, type[BaseModel]] = {
        "backends": WarmupSettings if "warmup" in place[2:-1] else BackendSettings,
        "senders": SenderSettings,
        "routes": RouteSettings,
        "safety": SafetySettings,
        "notify": NotifySettings,
        "api": ApiSettings,
        "gateway": GatewaySettings,
    }
    table = Settings if len(place) == 1 else tables.get(str(place[0]), Settings)
    known = [name for name in table.model_fields if name not in {"directory", "file"}]
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _there(backends: Mapping[str, Any]) -> str:
    return f"there is {', '.join(backends)}" if backends else "there is none"


def _reason(error: Exception) -> str:
    return error.strerror or "cannot be read" if isinstance(error, OSError) else "is not UTF-8"
