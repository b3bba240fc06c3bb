"""SASL as a server: PLAIN and LOGIN, RFC 4616 and what Outlook made common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

#: Yields challenges, is sent the client's answers, and returns user and password; None: not understood.
Exchange = Generator[bytes, bytes, tuple[str, str] | None]


def _plain() -> Exchange:
    """Authorisation identity, NUL, user, NUL, password; acting for somebody else is not understood."""
    parts = (yield b"").split(b"\0")
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        return None
    return _text(parts[1]), _text(parts[2])


def _login() -> Exchange:
    user = yield b"Username:"
    password = yield b"Password:"
    return _text(user), _text(password)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


MECHANISMS: Mapping[str, Callable[[], Exchange]] = {"PLAIN": _plain, "LOGIN": _login}
