"""What the settings say about one SMTP backend, checked before the first connection."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from mailer.backends.contract import BackendConfig
from mailer.backends.hosts import is_loopback
from mailer.backends.marks import RELAYS
from mailer.backends.options import check
from mailer.backends.smtp.oauth import Grant, TokenSource
from mailer.errors import ConfigError
from mailer.message import Phase

TLS_MODES = ("required", "opportunistic", "none")
MECHANISMS = ("plain", "login", "cram-md5", "xoauth2")

_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_EHLO_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9.]+\]|\[IPv6:[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds per phase. RFC 5321 section 4.5.3.2 asks for minutes; a relay that is up answers sooner.

    ``dot`` must be generous: giving up there leaves a message of which nobody knows. To an MX: 600.
    """

    connect: float = 30.0
    greeting: float = 60.0
    ehlo: float = 60.0
    starttls: float = 60.0
    auth: float = 60.0
    mail: float = 60.0
    rcpt: float = 60.0
    data: float = 120.0
    body: float = 180.0  # without any progress
    dot: float = 120.0
    rset: float = 20.0
    quit: float = 5.0

    def of(self, phase: Phase) -> float:
        """The limit of one phase; 60 seconds where SMTP has no such phase."""
        seconds: float = getattr(self, phase.value, 60.0)
        return seconds


@dataclass(frozen=True, slots=True)
class Options:
    """One SMTP backend. Made by ``parse``; secrets never show in ``repr``."""

    name: str
    host: str
    port: int
    implicit_tls: bool
    connections: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: str = "required"
    ca_file: str | None = None
    auth: str | None = None  # one of MECHANISMS; None: the best that the server offers
    ehlo: str | None = None
    source: str | None = None  # local address to connect from
    pipelining: bool = True
    idle: float = 30.0  # seconds until an idle connection is closed
    max_messages: int = 0  # per connection; 0: any number
    size: int | None = None  # octets per message, besides what the server says
    marks: str = "none"  # whose headers tell tags, metadata and ids; see backends.marks
    tokens: TokenSource | None = field(default=None, repr=False, compare=False)  # in place of a password
    timeouts: Timeouts = Timeouts()

    @classmethod
    def parse(cls, config: BackendConfig) -> Options:
        """Raises ConfigError that names the backend, the option and what is allowed."""
        parts = urlsplit(config.url)
        try:
            return _parse(config, dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(config.options))
        except ValueError as error:
            raise ConfigError(f"backend {config.name!r}: {error}") from None

    def tls_context(self) -> ssl.SSLContext:
        """Certificates are verified, TLS 1.2 at least; only ``opportunistic`` takes any certificate."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.tls == "opportunistic" and not self.implicit_tls:
            context.check_hostname = False  # without TLS it would go out in clear: any encryption is better
            context.verify_mode = ssl.CERT_NONE
        return context


def _parse(config: BackendConfig, given: Mapping[str, str]) -> Options:
    parts = urlsplit(config.url)
    if parts.scheme not in ("smtp", "smtps"):
        raise ValueError(f"{parts.scheme!r} is not smtp or smtps")
    if not parts.hostname or re.search(r"[\s\x00-\x20\x7f]", unquote(parts.hostname)):
        raise ValueError("the URL names no host: smtp://HOST:PORT")
    implicit = parts.scheme == "smtps"
    read = _read_options(config, given)
    options = Options(
        name=config.name,
        host=parts.hostname,
        port=parts.port or (465 if implicit else 25 if read.get("tls") == "none" else 587),
        implicit_tls=implicit,
        connections=max(1, config.connections),
        user=config.user or (unquote(parts.username) if parts.username else None),
        password=config.password or (unquote(parts.password) if parts.password else None),
        **read,
    )
    _check(options)
    return options


def _read_options(config: BackendConfig, given: Mapping[str, str]) -> dict[str, Any]:
    phases = {f"timeout_{each.name}": each.name for each in fields(Timeouts)}
    check(replace(config, options=given), [*READERS, *phases])
    options = {_FIELDS.get(key, key): _read(key, READERS[key], given[key]) for key in READERS if key in given}
    limits = {phases[key]: _read(key, _duration, given[key]) for key in phases if key in given}
    return options | {"timeouts": Timeouts(**limits)}


def _read(key: str, reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text.strip())
    except ValueError as error:
        raise ValueError(f"option {key}={text!r}: {error}") from None


def _check(options: Options) -> None:
    """What no option alone can tell."""
    secured = options.implicit_tls or options.tls == "required"
    if options.tokens and (options.password or not options.user or options.auth not in (None, "xoauth2")):
        raise ValueError("oauth_file goes with a user, without a password, and with no auth but xoauth2")
    if options.user and not (options.password or options.tokens):
        raise ValueError("there is a user but no password")
    if options.password and not options.user:
        raise ValueError("there is a password but no user")
    if options.user and not secured and not is_loopback(options.host):
        raise ValueError(f"tls={options.tls} would send the password in clear; use tls=required or smtps://")
    if options.auth and not options.user:
        raise ValueError(f"auth={options.auth} needs a user and a password")
    if options.implicit_tls and options.tls == "none":
        raise ValueError("smtps:// is encrypted from the start; tls=none goes with smtp://")


# --- readers of single options -------------------------------------------------------------------


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"expected one of: {', '.join(words)}")
        return text.lower()

    return read


def _switch(text: str) -> bool:
    return _one_of("on", "off", "yes", "no")(text) in ("on", "yes")


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 0 < seconds <= 86_400:
        raise ValueError("expected a duration such as 90, 90s, 500ms or 10m")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ValueError("expected a whole number")
    return int(text)


def _ehlo_name(text: str) -> str:
    if len(text) > 255 or not _EHLO_NAME.fullmatch(text):
        raise ValueError("expected a host name such as mail.example.com, or an address such as [192.0.2.1]")
    return text


def _address(text: str) -> str:
    return str(ip_address(text))


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return text


def _tokens(text: str) -> TokenSource:
    return TokenSource(Grant.parse(_file(text)))


#: Options that have another name as a field.
_FIELDS = {"oauth_file": "tokens"}
#: Every option but the timeouts, and how it is read. The names are those of the fields of Options.
READERS: Mapping[str, Callable[[str], Any]] = {
    "tls": _one_of(*TLS_MODES),
    "ca_file": _file,
    "auth": _one_of(*MECHANISMS),
    "ehlo": _ehlo_name,
    "source": _address,
    "pipelining": _switch,
    "idle": _duration,
    "max_messages": _count,
    "size": _count,
    "oauth_file": _tokens,
    "marks": _one_of(*RELAYS, "none"),
}
