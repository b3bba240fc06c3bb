"""The tables of ``mailer.toml`` for those who let mail in."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pydantic import Field

from mailer.settings.table import Table


class ApiSettings(Table):
    """``[api]``: what `mailer serve` takes, and how much of it."""

    queue_limit: int = Field(
        1_000_000, ge=1, description="no message is taken while more than so many wait to be sent"
    )
    max_body: int = Field(30_000_000, ge=1000, description="bytes of a request with messages")
    max_upload: int = Field(1_000_000_000, ge=1000, description="bytes of a request with a recipient list")
    docs: bool = Field(False, description="show the API's documentation at `/docs`")


class GatewaySettings(Table):
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
        None, description="backend that carries what comes in; default: that of its stream"
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
