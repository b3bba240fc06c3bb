"""What the gateway is told to do: plain values, read from the settings once."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from mailer.delivery.limits.rates import Rate, parse_all
from mailer.errors import ConfigError
from mailer.gateway.certificate import Certificate
from mailer.settings import GatewaySettings, as_rates

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Times in seconds, sizes in octets. A port that is None is not listened on; 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int | None = 587  # STARTTLS
    tls_port: int | None = None  # TLS from the first octet on
    hostname: str = "localhost"
    max_size: int = 25_000_000
    max_recipients: int = 100
    max_connections: int = 200
    rates: tuple[Rate, ...] = ()  # of each client
    allow_networks: tuple[Network, ...] = ()
    login_delay: float = 1.0  # after the first failed login; doubles with each
    max_failures: int = 10  # failed logins of one address in ``failure_window``
    failure_window: float = 600.0
    key_seconds: float = 5.0  # how long a key is believed before it is looked up again
    idle_seconds: float = 300.0  # RFC 5321 4.5.3.2.7
    login_seconds: float = 60.0  # until somebody has said who it is


def configured(settings: GatewaySettings, directory: Path) -> tuple[GatewayConfig, Certificate | None]:
    """Relative paths are relative to ``directory``. Raises ConfigError for what cannot work."""
    if settings.port is None and settings.tls_port is None:
        raise ConfigError("gateway: there is nothing to listen on: set port (587), tls_port (465) or both")
    if (settings.certificate is None) != (settings.key is None):
        raise ConfigError("gateway: certificate and key belong together")
    if settings.certificate is None and (settings.tls_port is not None or not settings.allow_networks):
        raise ConfigError(
            "gateway: no certificate, and nobody may log in without encryption: "
            "set certificate and key (PEM files) under [gateway] in mailer.toml"
        )
    config = GatewayConfig(
        host=settings.host,
        port=settings.port,
        tls_port=settings.tls_port,
        hostname=settings.hostname or socket.getfqdn(),
        max_size=settings.max_size,
        max_recipients=settings.max_recipients,
        max_connections=settings.max_connections,
        rates=parse_all(as_rates(settings.rate)),
        allow_networks=tuple(settings.allow_networks),
    )
    if settings.certificate is None or settings.key is None:
        return config, None
    return config, Certificate(directory / settings.certificate, directory / settings.key)
