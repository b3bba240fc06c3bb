"""The tables of ``mailer.toml`` that say how mail goes out. Secrets hide themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)

from mailer.address import Address, AddressError, check_domain, check_lane
from mailer.errors import ConfigError
from mailer.settings.sources import reason
from mailer.settings.table import Table


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


def _lane(name: str) -> str:
    check_lane(name)
    return name


def _domain(name: str) -> str:
    check_domain(name)
    return name


Lane = Annotated[str, AfterValidator(_lane)]
Domain = Annotated[str, AfterValidator(_domain)]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]


class WarmupSettings(Table):
    """``[backends.NAME.warmup]``: so many on the first day of sending, so many on the second, …"""

    schedule: list[PositiveInt] = Field(
        default_factory=list,
        description="messages of the first, second, … day on which anything is sent: `[50, 100, 500, 1000]`",
    )
    lanes: dict[Lane, list[PositiveInt]] = Field(
        default_factory=dict, description="the same per provider group: `{ gmail = [20, 40, 80] }`"
    )
    domains: dict[Domain, list[PositiveInt]] = Field(
        default_factory=dict, description='the same per recipient domain: `{ "example.org" = [10, 20] }`'
    )


class BackendSettings(Table):
    """One ``[backends.NAME]``: a URL, or host and login apart; secrets hide themselves."""

    url: SecretStr | None = Field(
        None, description="`smtp://user:${SMTP_PASSWORD}@host:587`, or leave it out and give `host`"
    )
    provider: str | None = Field(
        None, description="`resend` and its like, in place of `url`; `host` is what stands behind the `@`"
    )
    host: str | None = Field(None, description="server name, in place of `url`")
    port: int | None = Field(None, ge=1, le=65535, description="default: what the scheme uses")
    scheme: str = Field("smtp", description="with `host`: `smtp` (STARTTLS) or `smtps` (TLS from the start)")
    user: str | None = Field(None, description="login name; to any machine but this one it needs TLS")
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
    transactional_rate_reserve: Share | None = Field(
        None,
        description="of each limit per hour or longer and each warm-up day, the share that bulk mail never"
        ' uses; default `"10%"`, and none for `mailer send` without a broker',
    )
    lanes: dict[Lane, str | list[str]] = Field(
        default_factory=dict,
        description='limits per provider group: `{ gmail = "20/s", microsoft = "10/s" }`',
    )
    domains: dict[Domain, str | list[str]] = Field(
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
        if (self.url is None) == (self.host is None and self.provider is None):
            raise ValueError("give either url or host, or a provider")
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
        if self.provider is not None:
            return f"{self.provider}://{host or ''}"
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
            raise ConfigError(f"{name} {file}: {reason(error)}") from error


class SenderSettings(Table):
    """``[senders."acme.example"]``: limits of a domain that mail is sent from, over all backends."""

    rate: str | list[str] = Field(description="limits of what is sent from this domain, all must allow")
    transactional_rate_reserve: Share | None = Field(None, description="as that of a backend")


class RouteSettings(Table):
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


class SafetySettings(Table):
    """``[safety]``: enforced in the engine, for every face."""

    redirect_to: str | None = Field(None, description="every message goes to this address instead (staging)")
    allow_recipients: list[str] = Field(
        default_factory=list,
        description='nothing leaves for other addresses: `["*@acme.example"]`; empty: no restriction',
    )
    pause_at_errors: Share = Field(
        0.0,
        description="a campaign pauses when more than this share of the last 1,000 was refused or failed: "
        '`"5%"`; 0: never. Of transactional single messages somebody is told, and they go on',
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


class NotifySettings(Table):
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


def as_rates(rate: str | list[str]) -> tuple[str, ...]:
    """One limit or several, as several."""
    return (rate,) if isinstance(rate, str) else tuple(rate)
