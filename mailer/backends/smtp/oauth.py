"""Access tokens for XOAUTH2, fetched when they are needed and kept until they expire.

The option ``oauth_file`` names a JSON file with ``client_id``, ``client_secret`` and, for a mailbox that a
person granted, ``refresh_token``; without one it is the application itself that logs in (client
credentials, RFC 6749 section 4.4). ``tenant`` is Microsoft's; without it Google is asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mailer.backends.hosts import is_loopback
from mailer.backends.smtp.faults import Fault
from mailer.backends.smtp.refresh import RefreshToken

GOOGLE = "https://oauth2.googleapis.com/token"
MICROSOFT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
#: What an application asks of Microsoft; with a refresh token the scope is that of the grant.
APPLICATION_SCOPE = "https://outlook.office365.com/.default"
#: A token is not used in its last minute: it would expire on its way.
MARGIN = 60.0
_TIMEOUT = 30.0
#: Seconds that a token counts for when nobody says, and at most.
_UNTOLD, _LONGEST = 300.0, 86_400.0
#: Errors of RFC 6749 section 5.2 that trying again does not mend.
_LASTING = frozenset(
    {"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request"}
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is asked for with. Read by ``parse``; nothing of it shows in ``repr``."""

    url: str
    form: dict[str, str] = field(repr=False)
    refresh: RefreshToken | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, file: str) -> Grant:
        """Raises ValueError that names the file and never its content."""
        try:
            given = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ValueError(f"{file} is no JSON that can be read") from None
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise ValueError(f"{file} must hold an object of texts")
        tenant = given.get("tenant")
        url = given.get("token_uri") or (MICROSOFT.format(tenant=tenant) if tenant else GOOGLE)
        _check_address(file, url)
        form = _form(file, given, application=bool(tenant))
        token = form.get("refresh_token")
        return cls(url, form, RefreshToken(file, token) if token else None)


def _form(file: str, given: dict[str, str], *, application: bool) -> dict[str, str]:
    wanted = ["client_id", "refresh_token"] if "refresh_token" in given else ["client_id", "client_secret"]
    if missing := [name for name in wanted if not given.get(name)]:
        raise ValueError(f"{file} lacks {', '.join(missing)}")
    form = {name: given[name] for name in ("client_id", "client_secret", "scope") if given.get(name)}
    if "refresh_token" in given:
        return {**form, "grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    if not application:
        raise ValueError(f"{file} needs a refresh_token, or the tenant of an application")
    return {"scope": APPLICATION_SCOPE, **form, "grant_type": "client_credentials"}


def _check_address(file: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError(f"{file}: token_uri must be https://")


class TokenSource:
    """One grant's token, for all connections of a process; safe for concurrent calls.

    ``clock`` counts seconds.
    """

    def __init__(self, grant: Grant, clock: Callable[[], float] = time.monotonic) -> None:
        self._grant = grant
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._until = 0.0
        self._proven = False

    async def token(self) -> str:
        """Raises Fault; a lasting one when the grant is refused."""
        async with self._lock:
            if self._clock() >= self._until:
                await self._refresh()
            return self._token

    def proven(self) -> None:
        """A server took it."""
        self._proven = True

    async def another(self, refused: str) -> str | None:
        """In place of one that a server refused; None where that was new: then it is not its age.

        One that had been good may have been revoked, or have expired while this machine slept.
        """
        async with self._lock:
            if self._token != refused:  # another connection was faster
                return self._token
            if not self._proven:
                self._until = 0.0
                return None
            await self._refresh()
            return self._token

    async def _refresh(self) -> None:
        kept = self._grant.refresh
        used = await asyncio.to_thread(kept.latest) if kept else ""
        try:
            answer = await self._asked(used)
        except Fault as fault:
            # Another process may have used it up between our look at the file and our question.
            latest = await asyncio.to_thread(kept.latest) if kept and fault.lasting else used
            if latest == used:
                raise
            used, answer = latest, await self._asked(latest)
        self._token, self._proven = answer["access_token"], False
        given = answer.get("refresh_token")
        if kept and isinstance(given, str) and given not in ("", used):
            await asyncio.to_thread(kept.replace, given)
        self._until = self._clock() + max(0.0, _lifetime(answer.get("expires_in")) - MARGIN)

    async def _asked(self, refresh_token: str) -> dict[str, Any]:
        """An answer with a token. Raises Fault."""
        import httpx

        host = urlsplit(self._grant.url).hostname
        form = {**self._grant.form, **({"refresh_token": refresh_token} if refresh_token else {})}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
                response = await client.post(self._grant.url, data=form)
        except httpx.HTTPError as error:
            raise Fault(f"no access token from {host}: {type(error).__name__}", False) from None
        answer = _object(response.text)
        token = answer.get("access_token")
        if response.status_code != 200 or not isinstance(token, str) or not token.isascii():
            code = str(answer.get("error", f"status {response.status_code}"))[:100]
            raise Fault(f"no access token from {host}: {code}", code in _LASTING)
        return answer


def _lifetime(told: object) -> float:
    """Seconds, counted from now on: what the clocks say does not matter."""
    try:
        return min(float(str(told)), _LONGEST)
    except ValueError:
        return _UNTOLD


def _object(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
