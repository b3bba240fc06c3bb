"""Requests that are signed instead of carrying a key: AWS Signature Version 4, and Azure's HMAC."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


def aws(
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    content: bytes,
    *,
    key: str,
    secret: str,
    region: str,
    now: float,
    token: str | None = None,
) -> dict[str, str]:
    """The headers to add for the service ``ses``; ``headers`` are signed, too. No query string.

    docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    added = {"X-Amz-Date": stamp} | ({"X-Amz-Security-Token": token} if token else {})
    signed = {name.lower(): " ".join(value.split()) for name, value in {**headers, **added}.items()}
    signed["host"] = host
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            "",
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(content).hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{region}/ses/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    signature = hmac.digest(_signing_key(secret, scope), text.encode(), "sha256").hex()
    credential = f"Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**added, "Authorization": f"{_ALGORITHM} {credential}"}


@lru_cache(maxsize=16)
def _signing_key(secret: str, scope: str) -> bytes:
    """Of one day and region."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def azure(method: str, host: str, target: str, content: bytes, *, key: str, now: float) -> dict[str, str]:
    """The headers to add. ``target`` is path and query, ``key`` base64. Raises ValueError for another key.

    learn.microsoft.com/rest/api/communication/authentication
    """
    date = formatdate(now, usegmt=True)
    digest = b64encode(hashlib.sha256(content).digest()).decode()
    text = f"{method}\n{target}\n{date};{host};{digest}"
    signature = b64encode(hmac.digest(b64decode(key, validate=True), text.encode(), "sha256")).decode()
    proof = f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
    return {"x-ms-date": date, "x-ms-content-sha256": digest, "Authorization": proof}
