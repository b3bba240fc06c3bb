"""What the sink is told to do: a ``[sink]`` table and any number of ``[[rule]]`` in a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mailer.errors import ConfigError

#: Where a rule can act. The first four know no recipient.
PHASES = ("connect", "ehlo", "auth", "mail", "rcpt", "data", "dot")
WITHOUT_RECIPIENT = frozenset(PHASES[:4])
#: Where a connection can break: at a phase instead of its reply, or around the final dot.
DROPS = (*PHASES, "before-dot", "after-dot")
#: What EHLO offers, unless told otherwise.
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE", "ENHANCEDSTATUSCODES")

_REPLY = re.compile(r"[245][0-5]\d( [245]\.\d{1,3}\.\d{1,3})?( [ -~]+)?")
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to do to whom. ``drop`` without ``reply`` breaks the connection without a word.

    ``share`` picks by a hash of seed and recipient, so the same ones every time. ``times`` counts per
    recipient. Rules without a recipient share and count by the connection or the transaction instead.
    """

    at: str
    match: str = "*"
    sender: str = "*"
    share: float = 1.0
    reply: str | None = None
    delay: float = 0.0  # seconds, before the reply or the drop
    drop: str | None = None
    times: int | None = None
    number: int = 0  # position in the file, from 1; part of the hash


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """Everything about one sink. Times in seconds, sizes in octets."""

    host: str = "127.0.0.1"
    port: int = 2525  # 0: any free one
    hostname: str = "sink.localhost"
    store: Path | None = None  # a folder for .eml files and index.jsonl; None counts only
    rules: tuple[Rule, ...] = ()
    seed: str = ""
    latency: float = 0.0  # every reply comes this much later
    max_size: int = 50_000_000
    max_connections: int = 1000
    messages_per_connection: int | None = None  # then 421 to MAIL
    max_recipients: int = 1000  # of one message; then 452 4.5.3
    without: frozenset[str] = frozenset()  # extensions not to offer
    chunking: bool = False  # offer BDAT
    starttls: bool = False
    tls: bool = False  # TLS from the first octet on
    certificate: Path | None = None  # PEM; without it one is made for each run
    key: Path | None = None
    auth: bool = False  # offered; any login will do unless user and password are set
    require_auth: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def extensions(self) -> tuple[str, ...]:
        return tuple(name for name in EXTENSIONS if name not in self.without)


def load(file: Path) -> SinkConfig:
    """Read and check a TOML file. Raises ConfigError that names the file and the key."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    return parse(table, str(file))


def parse(table: Mapping[str, Any], file: str = "<sink>") -> SinkConfig:
    """The same for a table that is read already; ``file`` is for the complaints."""
    _refuse_unknown(table, ("sink", "rule"), file)
    sink, rules = table.get("sink", {}), table.get("rule", [])
    if not isinstance(sink, Mapping):
        raise ConfigError(f"{file}: sink must be a table, [sink]")
    if not isinstance(rules, list):
        raise ConfigError(f"{file}: rule must be a list of tables, [[rule]]")
    config = SinkConfig(
        **_read(sink, SINK_KEYS, f"{file}: sink"),
        rules=tuple(_rule(rule, number, file) for number, rule in enumerate(rules, 1)),
    )
    _check_together(config, file)
    return config


def _check_together(config: SinkConfig, file: str) -> None:
    if config.tls and config.starttls:
        raise ConfigError(f"{file}: sink.starttls and sink.tls exclude each other")
    if (config.certificate is None) != (config.key is None):
        raise ConfigError(f"{file}: sink.certificate and sink.key belong together")
    if (config.user is None) != (config.password is None):
        raise ConfigError(f"{file}: sink.user and sink.password belong together")


def _rule(table: Any, number: int, file: str) -> Rule:
    where = f"{file}: rule {number}"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: must be a table")
    values = _read(table, RULE_KEYS, where)
    at = values.pop("at", None) or _phase_of(values.get("drop"))
    if at is None:
        raise ConfigError(f"{where}: at is missing, one of: {', '.join(PHASES)}")
    rule = Rule(at=at, number=number, **values)
    if rule.drop is not None and _phase_of(rule.drop) != at:
        raise ConfigError(f"{where}: drop = {rule.drop!r} does not happen at {at!r}")
    if at in WITHOUT_RECIPIENT and rule.match != "*":
        raise ConfigError(f"{where}: match needs a recipient, there is none at {at!r}")
    if at == "data" and rule.reply is not None and rule.reply.startswith("2"):
        raise ConfigError(f"{where}: reply cannot be a 2xx at 'data': what follows would be no body")
    if rule.reply is None and rule.drop is None and not rule.delay:
        raise ConfigError(f"{where}: does nothing; give reply, delay or drop")
    return rule


def _phase_of(drop: str | None) -> str | None:
    return "dot" if drop in {"before-dot", "after-dot"} else drop


Reader = Callable[[Any], Any]


def _read(table: Mapping[str, Any], readers: Mapping[str, Reader], where: str) -> dict[str, Any]:
    """Every value through its reader, whose ValueError says what is allowed."""
    _refuse_unknown(table, tuple(readers), where)
    values = {}
    for key, value in table.items():
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise ConfigError(f"{where}.{key}: {error}, not {value!r}") from None
    return values


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f", expected one of: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("expected a text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _whole(least: int, most: int = 2**40) -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return value

    return read


def _path(value: Any) -> Path:
    return Path(_text(value))


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return float(value)


def duration(value: Any) -> float:
    """``"200ms"``, ``"1.5s"`` or ``"2m"`` in seconds. Raises ValueError."""
    matched = _TIME.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError('expected a time such as "200ms", "1.5s" or "2m"')
    return float(matched[1]) * _UNITS[matched[2]]


def _reply(value: Any) -> str:
    if not isinstance(value, str) or not _REPLY.fullmatch(value):
        raise ValueError('expected a reply such as "451 4.7.1 greylisted"')
    return value


def _one_of(allowed: tuple[str, ...]) -> Reader:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of: {', '.join(allowed)}")
        return str(value)

    return read


def _extensions(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(name in EXTENSIONS for name in value):
        raise ValueError(f"expected a list of: {', '.join(EXTENSIONS)}")
    return frozenset(value)


SINK_KEYS: Mapping[str, Reader] = {
    "host": _text,
    "port": _whole(0, 65535),
    "hostname": _text,
    "store": _path,
    "seed": _text,
    "latency": duration,
    "max_size": _whole(1),
    "max_connections": _whole(1),
    "messages_per_connection": _whole(1),
    "max_recipients": _whole(1),
    "without": _extensions,
    "chunking": _flag,
    "starttls": _flag,
    "tls": _flag,
    "certificate": _path,
    "key": _path,
    "auth": _flag,
    "require_auth": _flag,
    "user": _text,
    "password": _text,
}
RULE_KEYS: Mapping[str, Reader] = {
    "at": _one_of(PHASES),
    "match": _text,
    "sender": _text,
    "share": _share,
    "reply": _reply,
    "delay": duration,
    "drop": _one_of(DROPS),
    "times": _whole(1),
}
