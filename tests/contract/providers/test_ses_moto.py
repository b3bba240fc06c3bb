"""Our SES backend and moto's SES, which nobody wrote for the other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

from mailer.backends import connect, urls
from mailer.message import Accepted, Blocked, Outgoing, Rejected
from tests.contract.providers.letters import letter
from tests.contract.providers.sdks import need
from tests.servers import PATIENCE, free_port, wait_until


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Its address. A process of its own: it has much to say about everything, and warns."""
    need("moto")
    need("flask_cors")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(base, process), "moto")
            yield base
        finally:
            process.terminate()


def answers(base: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "moto does not start"
    try:
        with urllib.request.urlopen(f"{base}/moto-api/data.json", timeout=PATIENCE):
            return True
    except OSError:
        return False


def verify(base: str, identity: str) -> None:
    from botocore.session import Session

    keys = {"aws_access_key_id": "AKIDEXAMPLE0", "aws_secret_access_key": "secret-0123456789"}
    made = Session().create_client("sesv2", region_name="eu-west-1", endpoint_url=base, **keys)
    with closing(made) as client:
        client.create_email_identity(EmailIdentity=identity)


def sent(base: str) -> int:
    """How many recipients its SES has counted, of both APIs."""
    from botocore.session import Session

    keys = {"aws_access_key_id": "AKIDEXAMPLE0", "aws_secret_access_key": "secret-0123456789"}
    made = Session().create_client("ses", region_name="eu-west-1", endpoint_url=base, **keys)
    with closing(made) as client:
        return int(client.get_send_quota()["SentLast24Hours"])


async def test_moto_takes_our_mail_and_refuses_who_is_not_verified(moto):
    need("botocore")
    url = f"ses://AKIDEXAMPLE0:secret-0123456789@?region=eu-west-1&base={moto}"
    backend = connect(urls.parse("main", url))

    async def yes(message: Outgoing) -> bool:
        return True

    (before,) = await backend.send([letter(1)], yes)
    await asyncio.to_thread(verify, moto, "news@acme.example")
    outcomes = await backend.send(
        [letter(number, cc=["c@example.net"], file=True) for number in range(2, 7)], yes
    )
    crowd = [f"c{number}@example.net" for number in range(60)]
    (too_many,) = await backend.send([letter(9, cc=crowd)], yes)
    await backend.close()

    assert isinstance(before, Blocked), before
    assert "authority to send" in before.reply.text
    assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
    assert len({outcome.reference for outcome in outcomes}) == 5
    assert isinstance(too_many, Rejected)  # by our own limit, which is SES's
    # Five messages to two people each, whom moto counts in the envelope and in the headers.
    assert await asyncio.to_thread(sent, moto) == 20
