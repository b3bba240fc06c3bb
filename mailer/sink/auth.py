"""SASL as a server: PLAIN, LOGIN, CRAM-MD5 and XOAUTH2, against one login or none."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable, Generator

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")

#: Yields challenges, is sent the client's answers, and returns whether the login holds.
Exchange = Generator[bytes, bytes, bool]


class Login:
    """Who may come in. Without a user, everybody who speaks the mechanism."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self._user, self._password = user, password

    def start(self, mechanism: str) -> Exchange | None:
        """None for a mechanism that is not known."""
        exchanges: dict[str, Callable[[], Exchange]] = {
            "PLAIN": self._plain,
            "LOGIN": self._login,
            "CRAM-MD5": self._cram_md5,
            "XOAUTH2": self._xoauth2,
        }
        exchange = exchanges.get(mechanism)
        return exchange() if exchange else None

    def _is(self, user: bytes, password: bytes) -> bool:
        if self._user is None or self._password is None:
            return True
        return hmac.compare_digest(user, self._user.encode()) and hmac.compare_digest(
            password, self._password.encode()
        )

    def _plain(self) -> Exchange:
        """RFC 4616: authorisation identity, NUL, user, NUL, password."""
        parts = (yield b"").split(b"\0")
        return len(parts) == 3 and self._is(parts[1], parts[2])

    def _login(self) -> Exchange:
        user = yield b"Username:"
        password = yield b"Password:"
        return self._is(user, password)

    def _cram_md5(self) -> Exchange:
        """RFC 2195. Without a known password nothing can be checked but the form."""
        challenge = f"<{secrets.token_hex(8)}@sink>".encode()
        user, _, digest = (yield challenge).rpartition(b" ")
        if self._user is None or self._password is None:
            return len(digest) == 32
        expected = hmac.new(self._password.encode(), challenge, "md5").hexdigest().encode()
        return hmac.compare_digest(user, self._user.encode()) and hmac.compare_digest(digest, expected)

    def _xoauth2(self) -> Exchange:
        """The password is the token. A refusal explains itself in a challenge, which the client confirms."""
        fields = dict(part.partition(b"=")[::2] for part in (yield b"").split(b"\x01") if part)
        if self._is(fields.get(b"user", b""), fields.get(b"auth", b"").removeprefix(b"Bearer ")):
            return True
        yield b'{"status":"401","schemes":"bearer"}'
        return False


def encode(challenge: bytes) -> str:
    return base64.b64encode(challenge).decode()


def decode(answer: bytes) -> bytes | None:
    """None when this is not base64. A single ``=`` is an empty answer, RFC 4954 4."""
    if answer == b"=":
        return b""
    try:
        return base64.b64decode(answer, validate=True)
    except binascii.Error:
        return None
