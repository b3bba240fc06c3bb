"""Signed requests are, octet for octet, what the vendors' own code makes of them."""

import importlib.util
import os
from datetime import UTC, datetime

import pytest

from mailer.backends import signatures

AWS_BODY = (
    b'{"FromEmailAddress":"a@example.com","Destination":{"ToAddresses":["b@example.net"]},'
    b'"Content":{"Raw":{"Data":"SGVsbG8="}}}'
)
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PATH = "/v2/email/outbound-emails"
NOW = 1768478400.0  # 2026-01-15 12:00:00 UTC


def signed(body: bytes, *, token: str | None = None, region: str = "eu-west-1", now: float = NOW) -> str:
    headers = signatures.aws(
        "POST",
        f"email.{region}.amazonaws.com",
        PATH,
        {"Content-Type": "application/json"},
        body,
        key=KEY,
        secret=SECRET,
        region=region,
        now=now,
        token=token,
    )
    return headers["Authorization"]


#: Made with botocore 1.44.5.
VECTORS = [
    (
        None,
        "content-type;host;x-amz-date",
        "2790284ad96192e2fda0b2ddfd92a5727afa63410cf6a2fbc517efd20caddef4",
    ),
    (
        "TOKENEXAMPLE",
        "content-type;host;x-amz-date;x-amz-security-token",
        "757bb392ea00bd2ef3d06535bc992e272885cc2c9da6393968e4b61a43b4a9c1",
    ),
]


@pytest.mark.parametrize(("token", "names", "signature"), VECTORS, ids=["key", "session"])
def test_aws_signature_version_4(token, names, signature):
    assert signed(AWS_BODY, token=token) == (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20260115/eu-west-1/ses/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


def need_botocore() -> None:
    if importlib.util.find_spec("botocore") is None:
        message = "botocore is not installed: pip install -e '.[dev]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


CASES = [
    (b"", None, "eu-west-1"),
    ("Grüße".encode(), "a/b+c=", "us-gov-west-1"),
    (os.urandom(5000), None, "x-1"),
]


@pytest.mark.parametrize(("body", "token", "region"), CASES, ids=["empty", "session", "octets"])
def test_aws_signatures_are_those_of_botocore(body, token, region):
    need_botocore()
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"https://email.{region}.amazonaws.com{PATH}"
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(KEY, SECRET, token), "ses", region).add_auth(request)

    at = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert signed(body, token=token, region=region, now=at) == request.headers["Authorization"]


def test_azure_shared_key():
    headers = signatures.azure(
        "POST",
        "my-res.communication.azure.com",
        "/emails:send?api-version=2025-09-01",
        b'{"senderAddress":"a@example.com"}',
        key="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        now=NOW,
    )
    assert headers == {
        "x-ms-date": "Thu, 15 Jan 2026 12:00:00 GMT",
        "x-ms-content-sha256": "uUmz12CzJx6dziw6FsQG23ovEHS2hdaCJ9TitqE6GlI=",
        "Authorization": (
            "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256"
            "&Signature=Z9lmcFo65K/RytOeQZaNiWNUV2mhctLOgNzWRufmXz4="
        ),
    }
