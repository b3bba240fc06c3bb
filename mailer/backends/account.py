"""What the settings say about an account at a provider: key, region, base address, switches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mailer.backends import options
from mailer.backends.answers import now
from mailer.backends.contract import BackendConfig
from mailer.backends.expressible import misfits
from mailer.backends.hosts import is_loopback
from mailer.backends.provider import Facts
from mailer.errors import ConfigError

_REGION = re.compile(r"[a-z0-9-]{2,40}")
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?")

#: Options that every provider takes.
COMMON = ("base", "batch", "ca_file", "http2", "labels", "size", "timeout")
#: Options that mean the same wherever there is such a thing, and what somebody without it is told to lack.
WISHES = {
    "template": "templates that could be filled in from here",
    "pool": "IP pools to choose from",
    "send_at": "scheduling",
    "track_opens": "switch for the tracking of opens",
    "track_clicks": "switch for the tracking of clicks",
    "tags": "tags",
    "metadata": "metadata",
    "sandbox": "test mode",
}


@dataclass(frozen=True, slots=True)
class Account:
    """One account. ``key`` is the API key, ``secret`` its second half where there is one; both hide."""

    name: str
    base: str
    domain: str
    connections: int
    key: str = field(repr=False)
    secret: str = field(default="", repr=False)
    region: str = ""
    batch: int | None = None
    size: int | None = None
    timeout: float = 60.0  # seconds for writing, and between two octets of the answer
    ca_file: str | None = None
    http2: bool = False  # where the provider speaks it
    labels: bool = True  # tags and metadata of a message that have no place there make it refused
    send_at: datetime | None = None  # in UTC: when the provider shall send what it was given before
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        return is_loopback(urlsplit(self.base).hostname or "")

    @property
    def host(self) -> str:
        """Host and port of the base address, as they stand in a Host header."""
        return urlsplit(self.base).netloc

    @property
    def deadline(self) -> float:
        """Seconds for one request, whatever happens."""
        return 2 * self.timeout + 20

    @property
    def tags(self) -> list[str]:
        """Option ``tags``: several, separated by commas."""
        return [tag.strip() for tag in self.options.get("tags", "").split(",") if tag.strip()]

    @property
    def metadata(self) -> dict[str, str]:
        """Option ``metadata``: ``campaign=november,team=crm``."""
        pairs = [pair.partition("=") for pair in self.options.get("metadata", "").split(",") if pair.strip()]
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def template(self) -> str | None:
        """Option ``template``: of the provider's own; it is filled with the row's columns."""
        return self.options.get("template")

    def flag(self, name: str) -> bool | None:
        """A switch; None when nobody set it."""
        if name not in self.options:
            return None
        return options.flag(BackendConfig(self.name, "", options=self.options), name)

    def without_secrets(self, text: str) -> str:
        """An error message may quote the key it was given."""
        for secret in (self.secret, self.key):
            if len(secret) >= 6:
                text = text.replace(secret, "***")
        return text


def account(
    config: BackendConfig,
    facts: Facts,
    more: tuple[str, ...] = (),
    *,
    pair: bool = False,
    domain: str = "",
    choice: str = "region",
) -> Account:
    """Read and check. ``more`` are the provider's own options, ``pair`` asks for KEY:SECRET@.

    ``domain`` says what must stand behind the @-sign, where something must.
    ``choice`` is the option that picks the base address. Raises ConfigError.
    """
    choices = (choice,) if len(facts.bases) > 1 or "*" in facts.bases else ()
    _check(config, facts, {*COMMON, *more, *choices})
    key, secret = _keys(config, pair)
    host = _host(config, domain)
    region = _region(config, facts, choice)
    base = facts.bases.get(region, facts.bases.get("*", "")).format(host=host, region=region)
    own = Account(
        name=config.name,
        base=_base(config, base),
        domain=host,
        connections=max(1, config.connections),
        key=key,
        secret=secret,
        region=region,
        batch=options.whole(config, "batch", None),
        size=options.whole(config, "size", None),
        timeout=options.seconds(config, "timeout", 60.0),
        ca_file=config.options.get("ca_file"),
        http2=options.flag(config, "http2"),
        labels=options.choice(config, "labels", ("refuse", "drop"), "refuse") == "refuse",
        send_at=options.moment(config, "send_at"),
        options=config.options,
    )
    _check_wishes(config, facts, own)
    return own


def _check(config: BackendConfig, facts: Facts, known: set[str]) -> None:
    """The options, as far as they are the same for all."""
    for name in config.options.keys() & WISHES.keys() - known:
        raise _wrong(config, f"{facts.title} has no {WISHES[name]}: leave out option {name!r}")
    options.check(config, known)
    batch = options.whole(config, "batch", None)
    if batch is not None and batch > facts.batch:
        raise _wrong(config, f"option 'batch' is at most {facts.batch} for {facts.title}")
    for name in ("sandbox", "track_opens", "track_clicks"):
        options.flag(config, name)
    ca_file = config.options.get("ca_file")
    if ca_file is not None and not Path(ca_file).is_file():
        raise _wrong(config, "option 'ca_file': there is no such file")


def _check_wishes(config: BackendConfig, facts: Facts, own: Account) -> None:
    """What a provider would refuse later, with every message."""
    if own.send_at and facts.horizon is not None and own.send_at.timestamp() > now() + facts.horizon:
        ahead = facts.horizon / 86_400
        raise _wrong(
            config, f"{facts.title} takes nothing for later than in {ahead:g} days: see option 'send_at'"
        )
    pool = own.options.get("pool")
    if pool is not None and not re.fullmatch(facts.pool or ".+", pool):
        raise _wrong(config, f"{pool!r} is no pool of {facts.title}: see option 'pool'")
    # Whether there is a place for an account's metadata is whether the option is known.
    wrong = misfits(replace(facts.features, metadata=True), own.tags, own.metadata)
    if wrong:
        raise _wrong(config, f"{facts.title} cannot send {wrong[0]}: see options 'tags' and 'metadata'")


def _host(config: BackendConfig, domain: str) -> str:
    """What stands behind the @-sign."""
    parts = urlsplit(config.url)
    host = unquote(parts.netloc)
    if domain and not host:
        form = f"{parts.scheme}://KEY@{domain.upper().replace(' ', '-')}"
        raise _wrong(config, f"the {domain} is missing: {form}")
    if host and not _HOST.fullmatch(host):
        raise _wrong(config, f"{host!r} is no {domain or 'domain'}")
    if host and not domain:
        raise _wrong(config, f"nothing stands behind the @-sign: {parts.scheme}://KEY@")
    return host


def _keys(config: BackendConfig, pair: bool) -> tuple[str, str]:
    scheme = urlsplit(config.url).scheme
    given = config.password
    if pair:
        if not config.user or not given:
            raise _wrong(config, f"both halves of the key are needed: {scheme}://KEY:SECRET@")
        return config.user, given
    key = given or config.user
    if not key:
        raise _wrong(config, f"there is no key: write {scheme}://${{KEY}}@, or add key_file")
    if not key.isprintable() or not key.isascii():
        raise _wrong(config, "the key holds a character that no key has")
    return key, ""


def _region(config: BackendConfig, facts: Facts, choice: str) -> str:
    first = next(iter(facts.bases))
    if first == "*":  # any that looks like one; the error of a wrong one is the provider's
        region = config.options.get(choice, "")
        if not _REGION.fullmatch(region):
            raise _wrong(config, f"option {choice!r} is needed, as {facts.title} names it")
        return region
    return options.choice(config, choice, tuple(facts.bases), first)


def _base(config: BackendConfig, default: str) -> str:
    """HTTPS, or HTTP to this machine."""
    base = config.options.get("base", default).rstrip("/")
    parts = urlsplit(base)
    if not parts.hostname or parts.query or parts.username:
        raise _wrong(config, "option 'base' must be an address such as https://api.example.com")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise _wrong(config, "the key and the mail would go out in clear; use https://")
    return base


def _wrong(config: BackendConfig, text: str) -> ConfigError:
    return ConfigError(f"backend {config.name!r}: {text}")
