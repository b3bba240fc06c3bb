"""What a host's name or number tells by itself; nothing is looked up."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """This machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_private(host: str) -> bool:
    """An address that only our own network can reach."""
    try:
        return ip_address(host.partition("%")[0]).is_private
    except ValueError:
        return False
