"""All settings as one frozen object, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator

from mailer.errors import ConfigError
from mailer.settings.complaints import complaints
from mailer.settings.faces import ApiSettings, GatewaySettings
from mailer.settings.sending import (
    BackendSettings,
    Domain,
    NotifySettings,
    RouteSettings,
    SafetySettings,
    SenderSettings,
)
from mailer.settings.sources import dotenv, find_file, substitute, toml
from mailer.settings.table import Table

#: Settings that the environment may set, and the variable that does.
ENVIRONMENT = {
    "ledger": "MAILER_LEDGER_URL",
    "broker": "MAILER_BROKER_URL",
    "limits": "MAILER_LIMITS_URL",
    "lease_seconds": "MAILER_LEASE_SECONDS",
    "files": "MAILER_FILES",
    "templates": "MAILER_TEMPLATES",
    "backend": "MAILER_BACKEND",
    "transactional_backend": "MAILER_TRANSACTIONAL_BACKEND",
    "processes": "MAILER_PROCESSES",
    "recipients_per_task": "MAILER_RECIPIENTS_PER_TASK",
    "metrics_port": "MAILER_METRICS_PORT",
    "metrics_host": "MAILER_METRICS_HOST",
    "log_format": "MAILER_LOG_FORMAT",
    "log_level": "MAILER_LOG_LEVEL",
}


class Settings(Table):
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
    transactional_backend: str | None = Field(
        None, description="backend of transactional mail that names none; default: `backend`"
    )
    backends: dict[str, BackendSettings] = Field(
        default_factory=dict, description="`[backends.NAME]`, see below"
    )
    senders: dict[Domain, SenderSettings] = Field(
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
    log_format: Literal["text", "json"] = Field("text", description="logs on stderr: `text` or `json`")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="what is logged: `debug`, `info`, `warning` or `error`"
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

    def for_stream(self, stream: str) -> Settings:
        """What holds for mail of this stream: ``backend`` is that of mail that names none."""
        if stream != "transactional" or self.transactional_backend is None:
            return self
        return self.model_copy(update={"backend": self.transactional_backend})

    @property
    def broker_url(self) -> str | None:
        return self.broker.get_secret_value() if self.broker else None

    @property
    def template_root(self) -> Path:
        """Raises ConfigError for a folder that was named and is not there."""
        return self._folder("templates", self.templates)

    @property
    def files_root(self) -> Path:
        """Raises ConfigError for a folder that was named and is not there."""
        return self._folder("files", self.files)

    def _folder(self, setting: str, folder: Path) -> Path:
        path = (self.directory / folder.expanduser()).absolute()
        if setting in self.model_fields_set and not path.is_dir():
            raise ConfigError(
                f"{setting} (or {ENVIRONMENT[setting]}): there is no folder {path}; "
                f"correct the setting in {self.file or 'mailer.toml'}, or make the folder"
            )
        return path

    @classmethod
    def load(cls, start: Path | None = None, **overrides: Any) -> Settings:
        """Read everything once. ``overrides`` that are None do not count.

        Raises ConfigError that lists every complaint, with the file and the key.
        """
        file = find_file(start or Path.cwd())
        directory = (file.parent if file else (start or Path.cwd())).absolute()
        environment = {**dotenv(directory), **os.environ}
        values = toml(file) if file else {}
        values = substitute(values, environment, file)
        said = {key: environment[name] for key, name in ENVIRONMENT.items() if environment.get(name)}
        said |= {key: value for key, value in overrides.items() if value is not None}
        if "backend" in said:  # of the file; what is said for this run holds for all mail
            values.pop("transactional_backend", None)
        values.update(said)
        values.pop("directory", None)
        for backend in _tables(values.get("backends")):
            backend.setdefault("directory", directory)
        try:
            return cls.model_validate({**values, "directory": directory, "file": file})
        except ValidationError as error:
            raise ConfigError(complaints(error, file, cls)) from None


def _tables(value: Any) -> list[dict[str, Any]]:
    """The tables in a table; whatever else is there is complained about when it is validated."""
    return [one for one in value.values() if isinstance(one, dict)] if isinstance(value, dict) else []


def _there(backends: Mapping[str, Any]) -> str:
    return f"there is {', '.join(backends)}" if backends else "there is none"
